"""Training without a truth: a step hides some acquired samples and is judged by them (SSDU)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medssm.core.errors import BadDataError
from medssm.fields.reconstruction.cached_volume import open_volume
from medssm.fields.reconstruction.masks_of_cases import drawn, fixed, own
from medssm.fields.reconstruction.preparation import prepare
from medssm.fields.reconstruction.samples import (
    Runs,
    Sample,
    SlicePlace,
    Stream,
    complex_tensor,
    spread_runs,
    stacked,
)
from medssm.fields.reconstruction.train_config import SplitConfig
from medssm.mri.undersampling import Mask
from medssm.training.order import STREAM_SAMPLES, SampleKey, seeded, words_of


@dataclass(frozen=True)
class Acquired:
    """A slice as it was acquired.

    Args:
        kspace: Its samples.
        mask: Where they are.

    Shape:
        kspace: (coil, H, W, 2).
    """

    kspace: Tensor
    mask: Mask


class SelfSupervisedSamples(Dataset[Sample]):
    """Acquired samples divided anew for every step; a fixed part is kept for the validation.

    Args:
        places: The slices; fully sampled ones are undersampled by the stream's masks first.
        split: How samples are divided.
        stream: Masks, preparation and seed.
        batch_size: Slices of a step.
        runs: As for `MeasuredSamples`.
    """

    def __init__(
        self,
        places: Sequence[SlicePlace],
        split: SplitConfig,
        stream: Stream,
        batch_size: int = 1,
        runs: Runs | None = None,
    ) -> None:
        if not places:
            raise BadDataError("there is no slice to learn from.")
        self.places, self.split, self.stream = list(places), split, stream
        self.batch_size, self.runs = batch_size, runs

    def __getitem__(self, key: SampleKey) -> Sample:
        """The sample of a place in the run."""
        path = (STREAM_SAMPLES, key.epoch, key.number)
        with seeded(self.stream.seed, *path) as generator:
            place = self._place(key, generator)
            acquired = self._acquired(place)
            mask = acquired.mask
            _, kept = self._never_learned(mask)
            hidden = hide(Mask(kept, mask.acs), self.split, generator)
            return self._sample(acquired, kept & ~hidden, hidden)

    def _never_learned(self, mask: Mask) -> tuple[Tensor, Tensor]:
        """What stops the run, and what may be learned from.

        Two draws are left out: predict's figure is the error on the first, and by the second it
        chooses how far to go; neither would be honest on samples that were learned from.
        """
        share, seed = self.split.held_back, self.stream.seed
        figure, stopping = (kept_back(mask, share, each) for each in (seed, seed + 1))
        return stopping & ~figure, mask.sampled & ~figure & ~stopping

    def _place(self, key: SampleKey, generator: np.random.Generator) -> SlicePlace:
        if self.runs is None:
            return self.places[int(generator.integers(len(self.places)))]
        batch, slot = divmod(key.number, self.batch_size)
        # all slices of a batch draw the same volume
        drawn_by = np.random.default_rng(
            words_of(self.stream.seed, STREAM_SAMPLES, key.epoch, batch, 1)
        )
        return self.runs(self.places, self.batch_size, drawn_by)[slot]

    def held_back(self, count: int) -> list[Sample]:
        """Slices whose kept-back samples, the same in every validation, are the figure."""
        if self.runs is not None:
            return [
                stacked([self._judging(place) for place in run])
                for run in spread_runs(self.places, self.batch_size, count)
            ]
        step = max(1, len(self.places) // max(1, count))
        return [self._judging(place) for place in self.places[::step][:count]]

    def _judging(self, place: SlicePlace) -> Sample:
        acquired = self._acquired(place)
        hidden, kept = self._never_learned(acquired.mask)
        if not bool(hidden.any()):  # a mask with few columns: both draws are the same one
            hidden = acquired.mask.sampled & ~kept
        return self._sample(acquired, kept, hidden)

    def _acquired(self, place: SlicePlace) -> Acquired:
        volume = open_volume(place.path, place.copy)
        kspace = complex_tensor(volume.read(place.index))
        none = torch.zeros(place.shape[1:], dtype=torch.bool)
        if volume.mask is None:
            # what was never acquired by the protocol is no sample
            never = none if volume.padding is None else torch.from_numpy(volume.padding)
            return Acquired(kspace, drawn(self.stream.sampling, place.shape[1:], place.case)(never))
        return Acquired(kspace, own(volume.mask, volume.acs))

    def _sample(self, acquired: Acquired, shown: Tensor, hidden: Tensor) -> Sample:
        mask = Mask(shown, acquired.mask.acs)
        ready = prepare(acquired.kspace, fixed(mask), self.stream.preparation, known=False)
        return {
            "masked": ready.masked,
            "mask": ready.mask,
            "maps": ready.maps,
            "known": acquired.kspace / ready.scale,
            "hidden": hidden[None, :, :, None],
        }


def kept_back(mask: Mask, share: float, seed: int) -> Tensor:
    """Samples outside the centre that no step sees: whole columns where columns were acquired.

    Shape:
        result: (H, W).
    """
    # the published figures on single samples use this very draw
    generator = np.random.RandomState(seed)
    return _some(mask, share, lambda size: generator.rand(*size))


def hide(mask: Mask, split: SplitConfig, generator: np.random.Generator) -> Tensor:
    """Samples outside the centre that a step is judged by.

    Shape:
        result: (H, W).
    """
    if split.kind == "half":
        return _half(mask, generator)
    if split.kind == "uniform":
        return _some(mask, split.hidden, generator.random)
    return _some(mask, split.hidden, lambda size: _leaning(size, mask, split.hidden, generator))


def _leaning(
    size: tuple[int, ...], mask: Mask, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Numbers that are low rather in the middle, so that a share of samples lies below `share`."""
    away = [((np.arange(n) - n // 2) / n) ** 2 for n in size]
    weight = np.exp(-8 * (away[0][:, None] + away[1][None, :] if len(size) == 2 else away[0]))
    outside = (mask.sampled & ~mask.acs).numpy()
    open_ = outside if len(size) == 2 else np.any(outside, axis=0)
    mean = float(weight[open_].mean()) if open_.any() else 1.0
    return np.asarray(generator.random(size) * mean / weight) if share < 1 else np.zeros(size)


def _some(mask: Mask, share: float, draw: object) -> Tensor:
    """A share of the samples outside the centre; whole columns where the mask has columns."""
    height, width = mask.sampled.shape
    columns = bool((mask.sampled == mask.sampled[:1]).all())
    size = (width,) if columns else (height, width)
    chosen = torch.from_numpy(draw(size) < share)  # type: ignore[operator]
    if columns:
        chosen = chosen.expand(height, width)
    found = chosen & mask.sampled & ~mask.acs
    if bool(found.any()):
        return found
    # a mask with few columns: one of them, so that there is something to be judged by
    left = (mask.sampled & ~mask.acs).nonzero()
    if not len(left):
        raise BadDataError(
            "every acquired sample lies in the fully sampled centre, so none can be held back. "
            "Self-supervision needs samples outside of it."
        )
    place = left[len(left) // 2]
    found = torch.zeros_like(mask.sampled)
    found[:, place[1]] = (mask.sampled & ~mask.acs)[:, place[1]]
    return found


def _half(mask: Mask, generator: np.random.Generator) -> Tensor:
    """All samples on one side of the middle column."""
    side = torch.arange(mask.sampled.shape[1]) < mask.sampled.shape[1] // 2
    side = side if generator.random() < 0.5 else ~side
    found = mask.sampled & ~mask.acs & side
    if not bool(found.any()):
        found = mask.sampled & ~mask.acs & ~side
    return found
