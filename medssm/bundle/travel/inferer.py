"""Windows spread evenly over an image, mirrored and blended, as an inferer of MONAI."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor


class EvenWindowsInferer(Inferer):
    """Slide a network over an image: windows spread evenly, a Gaussian weight, mirror images.

    Args:
        roi_size: Window in voxels; one number less than the image has axes slides a 2D network
            over every plane.
        overlap: Part of a window that neighbours share at least.
        sw_batch_size: Windows a forward pass.
        mirror_axes: Axes to mirror, counted in the window; empty for none.

    Shape:
        inputs: (B, C, *S); result: (B, K, *S), float32.

    Source:
        nnU-Net v2, sliding window: steps of equal length, sigma an eighth of the window, logits
        averaged over the mirror images.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        overlap: float = 0.5,
        sw_batch_size: int = 1,
        mirror_axes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.roi_size, self.mirror_axes = tuple(roi_size), tuple(mirror_axes)
        self.step, self.sw_batch_size = 1 - overlap, sw_batch_size

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Compute the logits of whole images."""
        planar = len(self.roi_size) == inputs.ndim - 3
        window = (1, *self.roi_size) if planar else self.roi_size
        device = inputs.device

        def answer(patches: Tensor) -> Tensor:
            patches = patches[:, :, 0] if planar else patches
            total = self._plain(network(patches, *args, **kwargs))
            axes = range(len(self.mirror_axes) + 1)
            sets = [each for count in axes for each in combinations(self.mirror_axes, count)]
            for chosen in sets[1:]:
                flipped = [axis + 2 for axis in chosen]
                total = total + self._plain(network(patches.flip(flipped))).flip(flipped)
            total = total / len(sets)
            return total[:, :, None] if planar else total

        images = [self._slide(image[None], window, answer) for image in self._tensor(inputs)]
        # the geometry and the history of the input go along: the way back to its grid needs them
        return convert_to_dst_type(torch.cat(images).to(device), inputs, dtype=torch.float32)[0]

    @staticmethod
    def _tensor(inputs: Tensor) -> Tensor:
        return inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs

    @staticmethod
    def _plain(logits: Any) -> Tensor:
        first = logits[0] if isinstance(logits, (list, tuple)) else logits
        return first.float()

    def _slide(
        self, image: Tensor, window: tuple[int, ...], answer: Callable[[Tensor], Tensor]
    ) -> Tensor:
        sizes = image.shape[2:]
        padded = [max(pair) for pair in zip(sizes, window, strict=True)]
        before = [(full - size) // 2 for full, size in zip(padded, sizes, strict=True)]
        pads: list[int] = []
        for size, full, front in reversed(list(zip(sizes, padded, before, strict=True))):
            pads += [front, full - size - front]
        image = torch.nn.functional.pad(image, pads)
        weight = self._importance(window).to(image.device)
        regions = [
            tuple(slice(start, start + size) for start, size in zip(place, window, strict=True))
            for place in product(*self._starts(padded, window))
        ]
        total = torch.zeros(())
        weights = torch.zeros(padded, device=image.device)
        for first in range(0, len(regions), self.sw_batch_size):
            batch = regions[first : first + self.sw_batch_size]
            logits = answer(torch.cat([image[(slice(None), slice(None), *r)] for r in batch]))
            if total.ndim == 0:
                total = torch.zeros((logits.shape[1], *padded), device=image.device)
            for region, each in zip(batch, logits, strict=True):
                total[(slice(None), *region)] += each * weight
                weights[region] += weight
        inner = tuple(slice(b, b + size) for b, size in zip(before, sizes, strict=True))
        return (total / weights)[(slice(None), *inner)][None]

    def _starts(self, sizes: Sequence[int], window: Sequence[int]) -> list[list[int]]:
        starts = []
        for length, size in zip(sizes, window, strict=True):
            steps = math.ceil((length - size) / max(1.0, size * self.step))
            # round half to even, as numpy does
            starts.append([round((length - size) / max(1, steps) * i) for i in range(steps + 1)])
        return starts

    @staticmethod
    def _importance(window: Sequence[int]) -> Tensor:
        weights = torch.ones((), dtype=torch.float64)
        for size in window:
            distance = torch.arange(size, dtype=torch.float64) - size // 2
            axis = torch.exp(-(distance**2) / (2 * (size / 8) ** 2))
            weights = weights.unsqueeze(-1) * axis
        return weights.float().clamp_min(torch.finfo(torch.float32).tiny)
