"""The one place that asks whether a problem is 2D or 3D."""

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError

CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def check_spatial_dims(spatial_dims: int) -> int:
    """Refuse a number of spatial axes that no layer here knows.

    Raises:
        BadArgumentError: Neither 1, 2 nor 3.
    """
    if spatial_dims not in CONVOLUTIONS:
        raise BadArgumentError(f"spatial_dims must be 1, 2 or 3, not {spatial_dims!r}")
    return spatial_dims


def convolution(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    padding: int | None = None,
) -> nn.Module:
    """A convolution of the wanted rank; without `padding` it keeps the size over the stride."""
    maker = CONVOLUTIONS[check_spatial_dims(spatial_dims)]
    return maker(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2 if padding is None else padding,
        groups=groups,
        bias=bias,
    )


def max_pool(x: Tensor, size: int = 2) -> Tensor:
    """Maximum over non-overlapping windows.

    Shape:
        x: (B, C, *S), result (B, C, *S // size).
    """
    pools = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
    return pools[check_spatial_dims(x.ndim - 2)](x, size)


def upsample(x: Tensor, factor: int = 2) -> Tensor:
    """Linear interpolation to a multiple of the size, corners not aligned.

    Shape:
        x: (B, C, *S), result (B, C, *S * factor).
    """
    mode = LINEAR_MODES[check_spatial_dims(x.ndim - 2)]
    return F.interpolate(x, scale_factor=factor, mode=mode, align_corners=False)
