"""Convolutions over channels-last maps (B, *S, C): full, depthwise-separable, strided."""

from torch import Tensor, nn

from medssm.layers.dims import convolution, sound_layout, transposed_convolution
from medssm.layers.linear import TokenLinear


class MapConv(nn.Module):
    """A size-keeping convolution of a channels-last map; its result is divided by the stride.

    Args:
        spatial_dims: Rank of the map, 1 to 3.
        in_channels: Channels of the input.
        out_channels: Channels of the result.
        kernel: Edge of the window.
        stride: Step in every axis.
        groups: Groups of channels; as many as channels for a depthwise convolution.
        bias: Whether to add a bias.
        padding: Zeros at each border; half the kernel when not given.

    Shape:
        x: (B, *S, C), result (B, *ceil(S / stride), K) with the default padding.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        self.groups = groups
        self.conv = convolution(
            spatial_dims,
            in_channels,
            out_channels,
            kernel=kernel,
            stride=stride,
            groups=groups,
            bias=bias,
            padding=padding,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve without leaving the channels-last layout."""
        channels_first = sound_layout(x.movedim(-1, 1), self.groups)
        return self.conv(channels_first).movedim(1, -1).contiguous()


class SeparableConv(nn.Module):
    """Depthwise 3^d convolution, then a mixing of channels; no biases.

    Shape:
        x: (B, *S, C), result (B, *ceil(S / stride), K).
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, *, stride: int = 1
    ) -> None:
        super().__init__()
        self.depthwise = MapConv(
            spatial_dims, in_channels, in_channels, stride=stride, groups=in_channels
        )
        self.pointwise = TokenLinear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel, then mix channels."""
        return self.pointwise(self.depthwise(x))


class MapUpConv(nn.Module):
    """A transposed convolution of a channels-last map whose windows do not overlap.

    Shape:
        x: (B, *S, C), result (B, *S * factor, K).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        factor: int = 2,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = transposed_convolution(
            spatial_dims, in_channels, out_channels, factor=factor, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the size."""
        return self.conv(x.movedim(-1, 1)).movedim(1, -1).contiguous()
