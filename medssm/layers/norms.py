"""Normalisations over channels-last maps."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError

NormName = Literal["group", "instance"]
GROUPS = 8


class _GroupNorm(torch.autograd.Function):
    """Group norm of a channels-last map in few passes; torch's own walks one thread a channel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        wide = torch.promote_types(tokens.dtype, torch.float32)
        variance, mean = torch.var_mean(tokens.to(wide), dim=1, correction=0)  # (B, C)
        centre = _over_groups(mean, groups)
        spread = _over_groups(variance + (mean - centre) ** 2, groups)
        rate = (spread + eps).rsqrt()
        scale = rate * weight
        shift = bias - centre * scale
        ctx.save_for_backward(tokens, weight, centre, rate)
        ctx.groups = groups
        out = torch.addcmul(
            shift[:, None].to(tokens.dtype), tokens, scale[:, None].to(tokens.dtype)
        )
        return out.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weight, centre, rate = ctx.saved_tensors
        slope = gradients[0].reshape(tokens.shape)
        count = tokens.shape[1]
        total = slope.sum(1, dtype=rate.dtype)  # (B, C)
        product = (slope * tokens).sum(1, dtype=rate.dtype)
        along = (product - centre * total) * rate  # sum over space of slope * normalised
        flat = _over_groups(total * weight, ctx.groups) / count
        tilt = _over_groups(along * weight, ctx.groups) / count
        by_slope = rate * weight
        by_token = -(rate**2) * tilt
        constant = -rate * flat - by_token * centre
        dtype = tokens.dtype
        result = torch.addcmul(constant[:, None].to(dtype), slope, by_slope[:, None].to(dtype))
        result.addcmul_(tokens, by_token[:, None].to(dtype))
        return result.view(gradients[0].shape), along.sum(0), total.sum(0), None, None


def _over_groups(values: Tensor, groups: int) -> Tensor:
    """Mean over the channels of each group, given back to every channel: (B, C) to (B, C)."""
    grouped = values.view(values.shape[0], groups, -1)
    return grouped.mean(2, keepdim=True).expand_as(grouped).reshape(values.shape)


class MapNorm(nn.GroupNorm):
    """Group norm (8 groups) or instance norm (a group a channel) of a channels-last map.

    Shape:
        x: (B, *S, C), result the same.
    """

    def __init__(self, channels: int, name: NormName = "group") -> None:
        groups = GROUPS if name == "group" else channels
        if channels % groups:
            raise BadArgumentError(
                f"group norm needs channels in multiples of {GROUPS}, found {channels}; "
                f"choose {-(-channels // GROUPS) * GROUPS} or norm=instance"
            )
        super().__init__(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each sample's groups over space."""
        normalised: Tensor = _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return normalised


class MapInstanceNorm(nn.Module):
    """Instance norm of a channels-last map without weights.

    Shape:
        x: (B, *S, C), result the same.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each sample's channels over space."""
        channels = x.shape[-1]
        ones, zeros = x.new_ones(channels), x.new_zeros(channels)
        normalised: Tensor = _GroupNorm.apply(x, ones, zeros, channels, self.eps)
        return normalised


class MapBatchNorm(nn.BatchNorm1d):
    """Batch norm of a channels-last map: over all samples and positions, any rank.

    Shape:
        x: (B, *S, C), result the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel.

        Raises:
            BadArgumentError: In training there is one value a channel, hence no deviation.
        """
        if self.training and x.numel() == x.shape[-1]:
            raise BadArgumentError(
                f"batch norm cannot train on a single position of a single sample, found "
                f"{tuple(x.shape)}; take a larger patch or batch"
            )
        return super().forward(x.flatten(0, -2)).view(x.shape)
