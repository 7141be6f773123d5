"""The one place that asks whether a problem is 2D or 3D."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError

CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
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
    dilation: int = 1,
) -> nn.Module:
    """A convolution of the wanted rank; without `padding` it keeps the size over the stride."""
    maker = CONVOLUTIONS[check_spatial_dims(spatial_dims)]
    return maker(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2 * dilation if padding is None else padding,
        groups=groups,
        bias=bias,
        dilation=dilation,
    )


def transposed_convolution(
    spatial_dims: int, in_channels: int, out_channels: int, *, factor: int = 2, bias: bool = False
) -> nn.Module:
    """A transposed convolution whose windows do not overlap: it multiplies the size."""
    makers = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
    maker = makers[check_spatial_dims(spatial_dims)]
    return maker(in_channels, out_channels, factor, stride=factor, bias=bias)


def dropout(spatial_dims: int, probability: float) -> nn.Module:
    """Dropout of whole channels."""
    makers = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
    return makers[check_spatial_dims(spatial_dims)](probability)


def replication_pad(spatial_dims: int, reach: int) -> nn.Module:
    """A border of the last values on every side."""
    makers = {1: nn.ReplicationPad1d, 2: nn.ReplicationPad2d, 3: nn.ReplicationPad3d}
    return makers[check_spatial_dims(spatial_dims)](reach)


def instance_norm(spatial_dims: int, channels: int) -> nn.Module:
    """Instance norm without parameters."""
    makers = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
    return makers[check_spatial_dims(spatial_dims)](channels)


def mean_pool(x: Tensor, size: int = 2) -> Tensor:
    """Mean over non-overlapping windows.

    Shape:
        x: (B, C, *S), result (B, C, *S // size).
    """
    pools = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
    return pools[check_spatial_dims(x.ndim - 2)](x, size)


def sound_layout(x: Tensor, groups: int) -> Tensor:
    """Bring the input of a convolution to a layout whose gradients are right.

    oneDNN's gradient of 3D depthwise weights reads memory that nobody wrote, where the input is
    bfloat16, channels last and thinner along the first axis than the kernel asks (seen with torch
    2.15 on AVX-512; tests/layers/test_convs.py shows it). Channels first is right.

    Shape:
        x: (B, C, D, H, W), or any other rank; result the same.
    """
    if x.ndim != 5 or groups == 1 or x.device.type != "cpu":
        return x
    half = x.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
    return x.contiguous() if half else x


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


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation to given sizes, corners not aligned.

    Shape:
        x: (B, C, *S), result (B, C, *size).
    """
    mode = LINEAR_MODES[check_spatial_dims(x.ndim - 2)]
    return F.interpolate(x, size=tuple(size), mode=mode, align_corners=False)


def dilated_sum(x: Tensor, kernels: Tensor, dilations: Sequence[int]) -> Tensor:
    """Add up depthwise convolutions of several dilations; beyond the border its value goes on.

    Shape:
        x: (B, C, *S), kernels: (Q, C, 1, *K) with odd K, one a dilation, result (B, C, *S).
    """
    rank, width = check_spatial_dims(x.ndim - 2), kernels.shape[-1] // 2
    widest = max(dilations) * width
    padded = F.pad(x, (widest, widest) * rank, mode="replicate")
    total: Tensor | None = None
    for kernel, dilation in zip(kernels, dilations, strict=True):
        part = padded
        for axis in range(2, x.ndim):
            start = widest - dilation * width
            part = part.narrow(axis, start, padded.shape[axis] - 2 * start)
        part = sound_layout(part, x.shape[1])
        made = CONVOLVE[rank](part, kernel, dilation=dilation, groups=x.shape[1])
        total = made if total is None else total + made
    assert total is not None
    return total
