"""S4ND: one state space an axis, both ways; their outer product is the filter of the grid."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.linear import TokenLinear
from medssm.layers.mixers.mamba import KernelCost, without_weight_decay
from medssm.layers.mixers.s4d import DiagonalModes, fourier_macs
from medssm.ops.s4d import s4d_kernel


class S4ND(nn.Module):
    """A filter of the size of the grid a channel, K(i, j, ...) = K_1(i) K_2(j) ..., then GELU.

    Each K_a is S4D's kernel and a second one for negative lags, lag 0 counted once;
    y = K * u + D u, zeros beyond the border; result W gelu(y).

    A product of kernels is the same as one convolution after the other along each axis, so no
    transform of twice the size in every axis is needed.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map.
        state: States a channel and axis.
        linear: Whether to mix channels at the end.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Nguyen et al., "S4ND", 2022; state-spaces/s4, commit e757cef. Its kernels are of the
        diagonal-plus-low-rank kind by default; ours are the diagonal ones that it offers too.
        That a GELU precedes the linear output is taken over from S4D, unconfirmed.
    """

    over = "grid"
    causal = False

    def __init__(
        self, channels: int, spatial_dims: int, state: int = 64, linear: bool = True
    ) -> None:
        super().__init__()
        self.axes = nn.ModuleList(
            DiagonalModes(channels, state, both_ways=True) for _ in range(spatial_dims)
        )
        self.D = without_weight_decay(nn.Parameter(torch.randn(channels)))
        self.out_proj = TokenLinear(channels, channels) if linear else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Filter along every axis."""
        with torch.autocast(x.device.type, enabled=False):
            y = u = x.float()
            for axis, modes in enumerate(self.axes, start=1):
                assert isinstance(modes, DiagonalModes)
                y = filter_axis(y, modes, axis)
            y = y + self.D.float() * u
        mixed: Tensor = self.out_proj(F.gelu(y.to(x.dtype)))
        return mixed

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the transforms compute for so many tokens of one sample, its axes alike."""
        length = round(tokens ** (1 / len(self.axes)))
        return KernelCost(len(self.axes) * fourier_macs(tokens, len(self.D), length), 0)


def filter_axis(x: Tensor, modes: DiagonalModes, axis: int) -> Tensor:
    """Convolve along one axis with the kernels of its modes; no token moves.

    Shape:
        x: (B, *S, C) float32, result the same.
    """
    log_step, A, C, back = modes.modes()
    assert back is not None
    size = x.shape[axis]
    behind, ahead = s4d_kernel(log_step, A, C, size), s4d_kernel(log_step, A, back, size)
    # lag -1 is the last of a circle of twice the size
    circle = F.pad(behind, (0, size)) + F.pad(ahead, (0, size)).flip(-1)
    across = [1] * x.ndim
    across[axis], across[-1] = size + 1, x.shape[-1]
    response = torch.fft.rfft(circle, dim=-1).t().reshape(across)
    spectrum = torch.fft.rfft(x, n=2 * size, dim=axis) * response
    return torch.fft.irfft(spectrum, n=2 * size, dim=axis).narrow(axis, 0, size)
