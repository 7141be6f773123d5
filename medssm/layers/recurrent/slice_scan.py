"""A recurrent unit that also looks along the slices of a volume."""

import math

from torch import Tensor, nn

from medssm.layers.conv_gru import ConvGRU
from medssm.layers.linear import TokenLinear
from medssm.layers.mixers.routed_scan import RoutedScan
from medssm.ops.routes import there_and_back


class SliceScan(nn.Module):
    """`ConvGRU` whose states are scanned there and back along the slices.

    The batch is a volume: slices next to each other, in order. A batch of one slice is scanned
    as it is. The scan begins as the identity.

    Args:
        in_channels: Of the image; 2 for (real, imaginary).
        hidden_channels: Of the states.
        num_layers: Recurrent layers.
        states: States a channel of the scans.

    Shape:
        x: (S, C, H, W) with S the slices, state: (S, hidden, H, W, layers) or None for zeros;
        results (S, C, H, W) and a state.

    Source:
        Ours, after RECON section 10 D; DIRECT's network sees one slice alone.
    """

    over_slices = True

    def __init__(
        self,
        in_channels: int = 2,
        hidden_channels: int = 64,
        num_layers: int = 2,
        states: int = 4,
    ) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.gru = ConvGRU(in_channels, hidden_channels, num_layers=num_layers)
        self.norm = nn.LayerNorm(hidden_channels)
        self.scan = RoutedScan(hidden_channels, 2, states, math.ceil(hidden_channels / 16))
        self.out = TokenLinear(hidden_channels, hidden_channels, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take one step, then let every slice hear of the others."""
        image, new = self.gru(x, state)
        return image, self._along_slices(new)

    def _along_slices(self, state: Tensor) -> Tensor:
        # (S, C, H, W, n) to a sequence of slices in every pixel and layer
        tokens = state.permute(2, 3, 4, 0, 1)
        flat = tokens.reshape(-1, *tokens.shape[-2:])
        mixed = self.out(self.scan(self.norm(flat), there_and_back(flat.shape[1])))
        return state + mixed.view(tokens.shape).permute(3, 4, 0, 1, 2)
