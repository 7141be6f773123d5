"""XResNet-1D, the strongest convolutional baseline on PTB-XL."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.dims import convolution
from medssm.layers.signals import shorten

EXPANSION = 4
STEM = (32, 32, 64)


class ConvNorm(nn.Module):
    """Convolution, batch norm and, if wanted, a ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = convolution(1, in_channels, out_channels, kernel=kernel, stride=stride)
        self.norm = nn.BatchNorm1d(out_channels)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, norm, bend."""
        y = self.norm(self.conv(x))
        return F.relu(y) if self.act else y


class Bottleneck(nn.Module):
    """1 - k - 1 convolutions around a shortcut that averages before it projects (ResNet-D).

    The last norm starts at zero, so that a block starts as its shortcut.

    Shape:
        x: (B, C, T), result (B, 4 width, ceil(T / stride)).
    """

    def __init__(self, in_channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.narrow = ConvNorm(in_channels, width, 1)
        self.mix = ConvNorm(width, width, kernel, stride)
        self.widen = ConvNorm(width, out, 1, act=False)
        nn.init.zeros_(self.widen.norm.weight)
        self.stride = stride
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out:
            self.shortcut = ConvNorm(in_channels, out, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform and add."""
        y = self.widen(self.mix(self.narrow(x)))
        return F.relu(y + self.shortcut(shorten(x, self.stride)))


class XResNet1d(nn.Module):
    """A residual network of bottlenecks with three convolutions in front; 101 layers by default.

    Args:
        in_channels: Leads.
        out_channels: Logits.
        blocks: Bottlenecks of each stage.
        width: Inner width of the bottlenecks, the same in all stages.
        kernel: Taps.
        hidden: Units of the head's hidden layer.
        dropout: Before the last layer, half of it before the hidden one.

    Shape:
        x: (B, C, T), result (B, K).

    Raises:
        BadArgumentError: An even number of taps.

    Source:
        He et al., "Bag of tricks", 2019, in one dimension as in Strodthoff et al., "Deep learning
        for ECG analysis: benchmarks and insights from PTB-XL", 2021 (xresnet1d101).
    """

    divisors = (1,)

    def __init__(
        self,
        in_channels: int = 12,
        out_channels: int = 26,
        blocks: Sequence[int] = (3, 4, 23, 3),
        width: int = 64,
        kernel: int = 5,
        hidden: int = 128,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise BadArgumentError(f"kernel={kernel}: expected an odd number of taps")
        widths = (in_channels, *STEM)
        self.stem = nn.Sequential(
            *(
                ConvNorm(before, after, kernel, 2 if index == 0 else 1)
                for index, (before, after) in enumerate(zip(widths, STEM, strict=False))
            )
        )
        stages, channels = [], STEM[-1]
        for stage, count in enumerate(blocks):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                stages.append(Bottleneck(channels, width, kernel, stride))
                channels = EXPANSION * width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * channels),
            nn.Dropout(dropout / 2),
            nn.Linear(2 * channels, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Dropout(dropout),
            nn.Linear(hidden, out_channels),
        )

    def forward(self, x: Tensor, about: Tensor | None = None) -> Tensor:
        """Classify; what is known about the patient is not used.

        Shape:
            x: (B, C, T), about: (B, 2), result (B, K).
        """
        del about
        y = F.max_pool1d(self.stem(x), 3, 2, padding=1)
        y = self.stages(y)
        return self.head(torch.cat([y.amax(-1), y.mean(-1)], 1))
