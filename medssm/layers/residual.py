"""Residual convolution blocks over channels-last maps, dense or masked with the same weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.convs import MapConv, MapUpConv
from medssm.layers.linear import TokenLinear
from medssm.layers.masking import Visible
from medssm.layers.norms import MapInstanceNorm
from medssm.layers.sparse import hide

SLOPE = 0.01


class MedNextBlock(nn.Module):
    """x + W_2 gelu(W_1 LN(depthwise(x))); with a mask hidden cells stay zero.

    Args:
        spatial_dims: Rank of the map.
        channels: Its width.
        expansion: Inner width as a multiple of it.
        kernel: Edge of the depthwise window.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Roy et al., "MedNeXt", 2023, as MambaMIM takes it: layer norm, no layer scale.
    """

    def __init__(self, spatial_dims: int, channels: int, expansion: int, kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = MapConv(
            spatial_dims, channels, channels, kernel=kernel, groups=channels, bias=True
        )
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.fc1 = TokenLinear(channels, expansion * channels)
        self.fc2 = TokenLinear(expansion * channels, channels)

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        """Filter each channel, mix channels, add."""
        inner = self.fc2(F.gelu(self.fc1(self.norm(self.depthwise(x)))))
        return x + hide(inner, visible)


class ResidualBlock(nn.Module):
    """conv, LN, leaky ReLU, conv, LN, plus the input (projected where the width changes).

    Shape:
        x: (B, *S, C), result (B, *S, K).
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = MapConv(spatial_dims, in_channels, out_channels, bias=True)
        self.norm1 = nn.LayerNorm(out_channels, eps=1e-6)
        self.conv2 = MapConv(spatial_dims, out_channels, out_channels, bias=True)
        self.norm2 = nn.LayerNorm(out_channels, eps=1e-6)
        changes = in_channels != out_channels
        self.project = TokenLinear(in_channels, out_channels) if changes else None
        self.norm3 = nn.LayerNorm(out_channels, eps=1e-6) if changes else None

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        """Convolve twice and add."""
        y = F.leaky_relu(self.norm1(self.conv1(x)), SLOPE)
        y = self.norm2(self.conv2(hide(y, visible)))
        if self.project is not None and self.norm3 is not None:
            x = self.norm3(self.project(x))
        return hide(F.leaky_relu(y + x, SLOPE), visible)


class InstanceResidualBlock(nn.Module):
    """MONAI's UnetResBlock: as `ResidualBlock` with instance norms without weights, no biases.

    Shape:
        x: (B, *S, C), result (B, *S, K).
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = MapConv(spatial_dims, in_channels, out_channels)
        self.conv2 = MapConv(spatial_dims, out_channels, out_channels)
        self.norm = MapInstanceNorm()
        changes = in_channels != out_channels
        self.project = TokenLinear(in_channels, out_channels, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve twice and add."""
        y = F.leaky_relu(self.norm(self.conv1(x)), SLOPE)
        y = self.norm(self.conv2(y))
        if self.project is not None:
            x = self.norm(self.project(x))
        return F.leaky_relu(y + x, SLOPE)


class UpBlock(nn.Module):
    """MONAI's UnetrUpBlock: transposed convolution, the encoder's map beside it, residual block.

    Shape:
        x: (B, *S, C), skip: (B, *2S, K), result as skip.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = MapUpConv(spatial_dims, in_channels, out_channels)
        self.block = InstanceResidualBlock(spatial_dims, 2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Double the size, look at the encoder's map, refine."""
        return self.block(torch.cat([self.up(x), skip], dim=-1))
