"""From a signal of many leads to tokens: one strided convolution, or a residual stem."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.dims import convolution


class PatchEmbed(nn.Module):
    """Tokens of overlapping or touching windows: Vim's embedding along one axis.

    Args:
        in_channels: Leads.
        width: Width of the tokens.
        patch: Samples of a window.
        stride: Samples from one window to the next.

    Shape:
        x: (B, C, T), result (B, (T - patch) // stride + 1, width).

    Source:
        Zhu et al., "Vision Mamba", 2024, on an image of height one.
    """

    def __init__(self, in_channels: int, width: int, patch: int, stride: int) -> None:
        super().__init__()
        self.patch, self.stride = patch, stride
        self.proj = convolution(
            1, in_channels, width, kernel=patch, stride=stride, bias=True, padding=0
        )

    def tokens(self, length: int) -> int:
        """How many tokens so many samples make."""
        return max(0, (length - self.patch) // self.stride + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Project every window."""
        return self.proj(x).transpose(1, 2)


class ResidualPair(nn.Module):
    """Two convolutions with batch norm around a shortcut: GELU(N(conv(GELU(N(conv x)))) + s(x)).

    The shortcut averages over the stride and projects where the width changes (ResNet-D).

    Shape:
        x: (B, C, T), result (B, K, ceil(T / stride)).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(1, in_channels, out_channels, kernel=kernel, stride=stride)
        self.norm1 = nn.BatchNorm1d(out_channels)
        self.conv2 = convolution(1, out_channels, out_channels, kernel=kernel)
        self.norm2 = nn.BatchNorm1d(out_channels)
        self.stride = stride
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = convolution(1, in_channels, out_channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve twice, add the shortcut."""
        y = self.norm2(self.conv2(F.gelu(self.norm1(self.conv1(x)))))
        return F.gelu(y + self.shortcut(shorten(x, self.stride)))


def shorten(x: Tensor, stride: int) -> Tensor:
    """Mean over windows of `stride` samples, the last one of what is left.

    Shape:
        x: (B, C, T), result (B, C, ceil(T / stride)).
    """
    if stride == 1:
        return x
    return F.avg_pool1d(x, stride, ceil_mode=True, count_include_pad=False)


class ResidualStem(nn.Module):
    """A wide strided convolution, then residual pairs, down to the tokens.

    Args:
        in_channels: Leads.
        widths: Channels after the first convolution and after each pair; the last is the tokens'.
        strides: Their strides.
        kernel: Taps of the first convolution, an odd number.
        pair_kernel: Taps of the pairs, an odd number.

    Raises:
        BadArgumentError: `widths` and `strides` do not go together, or a number of taps is even.

    Shape:
        x: (B, C, T), result (B, ceil(T / product of strides), widths[-1]).
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        strides: Sequence[int],
        kernel: int = 15,
        pair_kernel: int = 7,
    ) -> None:
        super().__init__()
        if len(widths) != len(strides) or not widths:
            raise BadArgumentError(
                f"stem_widths {list(widths)} and stem_strides {list(strides)} need one entry for "
                "the first convolution and one for each residual pair"
            )
        if kernel % 2 == 0 or pair_kernel % 2 == 0:
            raise BadArgumentError(
                f"the stem's convolutions need odd numbers of taps, found {kernel} and "
                f"{pair_kernel}; take {kernel | 1} and {pair_kernel | 1}"
            )
        self.strides = tuple(strides)
        self.conv = convolution(1, in_channels, widths[0], kernel=kernel, stride=strides[0])
        self.norm = nn.BatchNorm1d(widths[0])
        self.pairs = nn.Sequential(
            *(
                ResidualPair(before, after, pair_kernel, stride)
                for before, after, stride in zip(widths, widths[1:], strides[1:], strict=False)
            )
        )

    def tokens(self, length: int) -> int:
        """How many tokens so many samples make."""
        for stride in self.strides:
            length = -(-length // stride)
        return length

    def forward(self, x: Tensor) -> Tensor:
        """Features at the rate of the tokens."""
        return self.pairs(F.gelu(self.norm(self.conv(x)))).transpose(1, 2)
