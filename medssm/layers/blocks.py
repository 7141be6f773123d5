"""What surrounds a token mixer: norm, residual, dropped paths and, if wanted, an MLP."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.linear import TokenLinear
from medssm.layers.mixers import build_mixer


class DropPath(nn.Module):
    """Leave a residual branch out, sample by sample, while training.

    Args:
        rate: Probability that a sample goes without; what stays is scaled up by 1 / (1 - rate).

    Shape:
        x: (B, ...), result the same.

    Source:
        Huang et al., "Deep networks with stochastic depth", 2016, scaled as in timm.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each sample by 0 or 1 / (1 - rate)."""
        if not (self.training and self.rate):
            return x
        keep = 1 - self.rate
        drawn = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (drawn / keep)

    def extra_repr(self) -> str:
        """The rate."""
        return f"rate={self.rate:g}"


class FeedForward(nn.Module):
    """Linear, GELU, linear, on every token by itself.

    Shape:
        x: (..., C), result the same.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = TokenLinear(channels, hidden)
        self.fc2 = TokenLinear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Widen, bend, narrow."""
        return self.fc2(F.gelu(self.fc1(x)))


class MixerBlock(nn.Module):
    """x + DropPath(mixer(LN(x))), then the same with a feed-forward part where one is given.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map.
        mixer: What mixes tokens (`MIXERS`).
        drop_path: Rate of dropped paths.
        feed_forward: The second half's module.
        layer: Place among the blocks of a level, for mixers that alternate by it.

    Shape:
        x: (B, *S, C), result the same.
    """

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        mixer: Mapping[str, Any],
        drop_path: float = 0.0,
        feed_forward: nn.Module | None = None,
        layer: int = 0,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mixer = build_mixer(mixer, channels, spatial_dims, layer)
        self.drop_path = DropPath(drop_path)
        self.norm2 = None if feed_forward is None else nn.LayerNorm(channels)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens, then channels."""
        x = x + self.drop_path(self.mixer(self.norm(x)))
        if self.feed_forward is not None and self.norm2 is not None:
            x = x + self.drop_path(self.feed_forward(self.norm2(x)))
        return x


def rising_rates(most: float, count: int) -> list[float]:
    """Rates of dropped paths from 0 at the first block to `most` at the last.

    Examples:
        >>> rising_rates(0.2, 3)
        [0.0, 0.1, 0.2]
    """
    return [most * index / max(1, count - 1) for index in range(count)]


def by_stage(rates: Sequence[float], depths: Sequence[int]) -> list[list[float]]:
    """Cut a list of one rate a block into stages."""
    left = iter(rates)
    return [[next(left) for _ in range(depth)] for depth in depths]
