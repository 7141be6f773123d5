"""S4D: a diagonal state space that depends on no input, as one long convolution a channel."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.linear import TokenLinear
from medssm.layers.mixers.mamba import DT_RANGE, KernelCost, without_weight_decay
from medssm.ops.s4d import s4d_convolution


class DiagonalModes(nn.Module):
    """Complex modes of each channel, started as S4D-Lin: A_n = -1/2 + i pi n, n = 0..N/2-1.

    Args:
        channels: Width H of the map.
        state: States N, in conjugate pairs: N / 2 modes are kept.
        both_ways: Whether a second kernel looks ahead.

    Source:
        Gu et al., "On the Parameterization and Initialization of Diagonal State Space Models",
        2022. No weight decay, as published.
    """

    def __init__(self, channels: int, state: int, both_ways: bool) -> None:
        super().__init__()
        modes = max(1, state // 2)
        low, high = map(math.log, DT_RANGE)
        self.log_step = _free(torch.rand(channels) * (high - low) + low)
        self.log_A_real = _free(torch.full((channels, modes), math.log(0.5)))
        self.A_imag = _free(math.pi * torch.arange(modes).float().repeat(channels, 1))
        weights = torch.randn(channels, modes, dtype=torch.cfloat)
        self.C = nn.Parameter(torch.view_as_real(weights))
        ahead = torch.randn(channels, modes, dtype=torch.cfloat)
        self.C_back = nn.Parameter(torch.view_as_real(ahead)) if both_ways else None

    def modes(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Logarithm of the step, A, C and, with a kernel that looks ahead, its C.

        Shape:
            (H,), (H, N / 2), (H, N / 2), (H, N / 2); all but the first complex.
        """
        A = torch.complex(-self.log_A_real.float().exp(), self.A_imag.float())
        C = torch.view_as_complex(self.C.float())
        back = None if self.C_back is None else torch.view_as_complex(self.C_back.float())
        return self.log_step.float(), A, C, back


class S4D(nn.Module):
    """Every channel of the flattened grid filtered by its own state space, then channels mixed.

    K_l = 2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(dt A_n l) (zero-order hold),
    y = K * u + D u,  result GLU(W gelu(y)).

    The filter is the same for every input; it is computed by FFT in float32.

    Args:
        channels: Width of the tokens.
        state: States a channel.
        directions: "one" is causal; "both" adds a kernel that looks ahead.
        dropout: Rate of the dropout before the output layer.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Gu et al., 2022 (S4D-Lin); state-spaces/s4, commit e757cef.
    """

    over = "sequence"

    def __init__(
        self,
        channels: int,
        state: int = 64,
        directions: Literal["one", "both"] = "one",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.causal = directions == "one"
        self.kernel = DiagonalModes(channels, state, directions == "both")
        self.D = without_weight_decay(nn.Parameter(torch.randn(channels)))
        self.dropout = nn.Dropout(dropout)
        self.out_proj = TokenLinear(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Filter the flattened grid."""
        log_step, A, C, back = self.kernel.modes()
        y = s4d_convolution(x.flatten(1, -2), log_step, A, C, self.D.float(), C_back=back)
        return F.glu(self.out_proj(self.dropout(F.gelu(y)))).view_as(x)

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the transforms compute for so many tokens of one sample."""
        return KernelCost(fourier_macs(tokens, len(self.D), tokens), 0)


def fourier_macs(tokens: int, channels: int, length: int) -> int:
    """Multiply-adds of a filter by FFT: there and back at twice the length, products between.

    By the usual count of 5/2 n log2 n operations for n real numbers; two make a multiply-add.

    Args:
        tokens: Tokens of all samples.
        channels: Filters.
        length: Tokens along the filter.
    """
    return round(tokens * channels * (5 * math.log2(2 * length) + 3))


def _free(values: Tensor) -> nn.Parameter:
    return without_weight_decay(nn.Parameter(values))
