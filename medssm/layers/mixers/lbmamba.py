"""The locally bidirectional mixer of LBMamba: one scan that also looks back within a window."""

from typing import Literal

from torch import Tensor

from medssm.core.errors import BadArgumentError
from medssm.layers.mixers.branches import BranchedMamba
from medssm.layers.mixers.orders import axis_route
from medssm.ops.routes import Routes

# longest sequence of each window in the official kernel; beyond the last, WIDEST
AUTOMATIC = ((128, 4), (256, 8))
WIDEST = 16


class LocallyBidirectionalMamba(BranchedMamba):
    """Mamba with one global scan and, with the same parameters, a reverse one inside each window.

    With a_t = exp(dt_t A) and b_t = dt_t B_t u_t, over windows of w consecutive steps:

        f_t = a_t f_{t-1} + b_t,   r_t = a_t (r_{t+1} + b_{t+1}), r = 0 at the end of a window,
        y_t = C_t (f_t + r_t) + D u_t

    LBVim reverses the whole sequence after every layer, so that two layers see everything; here
    layer l takes the l-th order instead, and no token moves.

    Args:
        channels: Width of the tokens.
        spatial_dims: Rank of the map.
        state: States a channel.
        conv_width: Taps of the causal convolution.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projection; ceil(channels / 16) when not given.
        window: Steps w of a window; 0 or 1 for plain Mamba. "auto" follows the official kernel,
            where it is what a GPU thread holds: 4 up to 128 tokens, 8 up to 256, else 16.
        layer: Place of this mixer in its network, counted from 0.
        sweep: "rows" alternates forwards and backwards along the rows (LBVim); "axes" goes on to
            the other axes of the grid, both ways each (ours).

    Shape:
        x: (B, *S, C), result the same.

    Raises:
        BadArgumentError: A negative window or layer.

    Source:
        Zhang et al., "LBMamba", 2025; cvlab-stonybrook/LBMamba, commit 5211556. Its abstract says
        the direction alternates every two layers, its code reverses after each; we follow the code.
    """

    def __init__(
        self,
        channels: int,
        spatial_dims: int = 1,
        state: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        window: int | Literal["auto"] = 16,
        layer: int = 0,
        sweep: Literal["rows", "axes"] = "rows",
    ) -> None:
        super().__init__(
            ("",), channels, state=state, conv_width=conv_width, expand=expand, dt_rank=dt_rank
        )
        if layer < 0 or (window != "auto" and window < 0):
            raise BadArgumentError(
                f"layer and window must be 0 or more; found layer={layer}, window={window}."
            )
        self.window = window
        self.index = layer % (2 if sweep == "rows" else 2 * spatial_dims)
        self.causal = self.index == 0 and window in (0, 1)

    def scan(
        self, value: Tensor, gate: Tensor, size: tuple[int, ...], local_window: int = 0
    ) -> Tensor:
        """Convolve, scan with the window, gate."""
        return super().scan(value, gate, size, local_window or self.window_of(value.shape[1]))

    def window_of(self, length: int) -> int:
        """The window of a sequence; 0 where it would hold a single step."""
        if self.window != "auto":
            return self.window if self.window > 1 else 0
        return next((window for longest, window in AUTOMATIC if length <= longest), WIDEST)

    @property
    def fixed_window(self) -> bool:
        """Whether sequences of all lengths have the same local window."""
        return self.window != "auto"

    def order(self, size: tuple[int, ...]) -> Routes | None:
        """Forwards along the rows as memory lies, or the layer's own order."""
        return None if self.index == 0 else axis_route(self.index, *size)
