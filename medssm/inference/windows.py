"""A network slid over an image: windows spread evenly, blended by a Gaussian.

MONAI's `PatchInferer` drives the windows, through a splitter and a merger of ours: MONAI's own
splitter steps by a fixed interval and pushes only the last window inwards, while nnU-Net spreads
all of them evenly, and its trained models are compared with nnU-Net's answers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, Literal

import torch
from monai.inferers import PatchInferer, Splitter
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError, BadDataError
from medssm.inference.mirroring import mirrored
from medssm.inference.streaming import Scratch, SlabMerger, StreamedLogits

_SIGMA_SCALE = 1 / 8
# voxels in one forward pass: 16 planes of 40x56 at once take a third of the time of 16 passes (CPU)
_BUSY_VOXELS = {"cpu": 2**16, "cuda": 2**20}
_MOST_WINDOWS = 32
# nnU-Net makes its weights ten times as large for float16 to hold them
_HALF_SCALE = 10
Sums = Literal["float32", "float16"]


@dataclass(frozen=True)
class WindowSettings:
    """How windows lie and what happens in each.

    Args:
        size: Window in voxels; two numbers slide a 2D network over every plane of a volume.
        step: Largest step between windows as a part of the window.
        batch_size: Windows a forward pass.
        mirror_axes: Axes to mirror at test time, counted in the window; empty for none.
        autocast: Half precision inside the network.
        sums: How windows are added up; float16 rounds as stock nnU-Net does, whose labels differ
            by it where two classes are all but equal.
    """

    size: tuple[int, ...]
    step: float = 0.5
    batch_size: int = 1
    mirror_axes: tuple[int, ...] = ()
    autocast: bool = False
    sums: Sums = "float32"

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise BadArgumentError(f"step is {self.step}; it must be above 0 and at most 1.")
        if self.batch_size < 1:
            raise BadArgumentError(f"batch_size is {self.batch_size}; it must be at least 1.")
        if any(not 0 <= axis < len(self.size) for axis in self.mirror_axes):
            raise BadArgumentError(
                f"mirror_axes {self.mirror_axes} do not fit a window of {len(self.size)} axes."
            )


def window_starts(image: Sequence[int], window: Sequence[int], step: float) -> list[list[int]]:
    """Where windows start along each axis, spread evenly from edge to edge.

    Args:
        image: Size of the (padded) image; no axis smaller than the window.
        window: Size of the window.
        step: Largest step as a part of the window.

    Source:
        nnU-Net v2, computation of steps for the sliding window.
    """
    starts = []
    for length, size in zip(image, window, strict=True):
        steps = math.ceil((length - size) / max(1.0, size * step))
        # round half to even, as numpy does there
        starts.append([round((length - size) / max(1, steps) * i) for i in range(steps + 1)])
    return starts


@lru_cache(maxsize=4)
def importance(window: tuple[int, ...]) -> Tensor:
    """Weight of every voxel of a window: a Gaussian around its middle, at most 1, never 0.

    Shape:
        result: (*window), float32.

    Source:
        nnU-Net v2: sigma is an eighth of the window, the middle is voxel size // 2.
    """
    weights = torch.ones((), dtype=torch.float64)
    for size in window:
        distance = torch.arange(size, dtype=torch.float64) - size // 2
        axis = torch.exp(-(distance**2) / (2 * (size * _SIGMA_SCALE) ** 2))
        weights = weights.unsqueeze(-1) * axis
    return weights.float().clamp_min(torch.finfo(torch.float32).tiny)


def half_importance(window: tuple[int, ...]) -> Tensor:
    """The same weights in float16, where nnU-Net lets none become zero.

    Shape:
        result: (*window), float16.
    """
    half = (importance(window) * _HALF_SCALE).half()
    return torch.where(half == 0, half[half > 0].min(), half)


def windows_at_once(window: Sequence[int], device: torch.device) -> int:
    """How many windows of a size a forward pass takes, if nobody asks for a number."""
    busy = _BUSY_VOXELS.get(device.type, _BUSY_VOXELS["cpu"])
    return max(1, min(_MOST_WINDOWS, busy // math.prod(window)))


class EvenWindows(Splitter):
    """Pads an image to one window at least and hands out windows, first axis slowest.

    Args:
        window: Size of a window, as many axes as the image.
        step: Largest step as a part of the window.
    """

    def __init__(self, window: tuple[int, ...], step: float) -> None:
        super().__init__(patch_size=window)
        self.window, self.step = window, step

    def get_input_shape(self, inputs: Tensor) -> tuple[int, ...]:
        """Spatial size of the image."""
        return tuple(inputs.shape[2:])

    def get_padded_shape(self, inputs: Tensor) -> tuple[int, ...]:
        """Spatial size after padding."""
        return tuple(max(pair) for pair in zip(inputs.shape[2:], self.window, strict=True))

    def padding_before(self, inputs: Tensor) -> tuple[int, ...]:
        """Voxels of padding before the image along each axis."""
        padded = self.get_padded_shape(inputs)
        return tuple((p - s) // 2 for p, s in zip(padded, inputs.shape[2:], strict=True))

    def __call__(self, inputs: Tensor) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """Hand out the windows of an image with the place where each starts.

        Shape:
            inputs: (1, C, *S); each window: (1, C, *window).
        """
        padded = self.get_padded_shape(inputs)
        before = self.padding_before(inputs)
        pads: list[int] = []
        for size, full, front in reversed(list(zip(inputs.shape[2:], padded, before, strict=True))):
            pads += [front, full - size - front]
        image = nn.functional.pad(inputs, pads) if any(pads) else inputs
        for start in product(*window_starts(padded, self.window, self.step)):
            region = tuple(slice(s, s + w) for s, w in zip(start, self.window, strict=True))
            yield image[(slice(None), slice(None), *region)], start

    def count(self, inputs: Tensor) -> int:
        """How many windows an image takes."""
        starts = window_starts(self.get_padded_shape(inputs), self.window, self.step)
        return math.prod(map(len, starts))


def predict_logits(
    network: nn.Module,
    image: Tensor,
    settings: WindowSettings,
    scratch: Scratch,
    on_windows: Callable[[int, int], None] | None = None,
) -> StreamedLogits:
    """Slide a network over an image and stream the averaged logits to a temporary file.

    Args:
        network: Takes (B, C, *window) and returns logits (B, K, *window); its parameters say
            on which device windows are computed.
        image: The preprocessed image, on the CPU.
        settings: Windows, mirroring, precision.
        scratch: Where the temporary file goes and how much memory the sums may take.
        on_windows: Called after each batch with windows done and windows in all.

    Returns:
        The logits on the image's grid; close them to remove the file.

    Shape:
        image: (C, *S); result: (K, *S).
    """
    window = settings.size
    if len(window) not in (image.ndim - 1, image.ndim - 2):
        raise BadArgumentError(
            f"a window of {len(window)} axes cannot slide over an image of {image.ndim - 1} axes."
        )
    planar = len(window) == image.ndim - 2
    splitter = EvenWindows((1, *window) if planar else window, settings.step)
    inputs = image[None].float()
    total, done = splitter.count(inputs), 0

    def forward(patches: Tensor) -> Tensor:
        nonlocal done
        result = _forward(network, patches[:, :, 0] if planar else patches, settings)
        done += len(patches)
        if on_windows is not None:
            on_windows(done, total)
        return result[:, :, None] if planar else result

    weights = importance(splitter.window)
    if settings.sums == "float16":
        weights = half_importance(splitter.window)
    inferer = PatchInferer(
        splitter=splitter,
        merger_cls=SlabMerger,
        batch_size=settings.batch_size,
        weights=weights,
        before=splitter.padding_before(inputs),
        scratch=scratch,
    )
    with torch.inference_mode():
        merged: Any = inferer(inputs, forward)
    return merged


def _forward(network: nn.Module, patches: Tensor, settings: WindowSettings) -> Tensor:
    device = next(network.parameters()).device
    patches = patches.to(device, non_blocking=True)
    with torch.autocast(device.type, enabled=settings.autocast):
        logits = mirrored(network, patches, settings.mirror_axes)
    if settings.autocast and not torch.isfinite(logits).all():
        # half precision overflowed in this window: answer it in float32
        logits = mirrored(network, patches, settings.mirror_axes)
    if not torch.isfinite(logits).all():
        raise BadDataError(
            "the network answers with numbers that are not finite; its weights, or the "
            "intensities of this image, are far from what it was trained on."
        )
    return logits
