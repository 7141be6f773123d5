"""Training slices: simulated, or measured and undersampled afresh; pure functions of their key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medssm.core.errors import BadDataError
from medssm.fields.reconstruction.cached_volume import open_volume
from medssm.fields.reconstruction.masks_of_cases import drawn
from medssm.fields.reconstruction.phantoms import head_phantom
from medssm.fields.reconstruction.preparation import Preparation, Prepared, prepare
from medssm.fields.reconstruction.simulation import ImageSource, SimulationConfig, simulate
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.training.order import STREAM_SAMPLES, STREAM_VALIDATION, SampleKey, seeded, words_of

Sample = dict[str, Tensor]
Runs = Callable[[Sequence["SlicePlace"], int, np.random.Generator], list["SlicePlace"]]
_PHANTOMS = 64
_FAINT = 0.3
"""A strip whose brightest pixel is below this part of the image's shows background alone."""


@dataclass(frozen=True)
class Stream:
    """What every source of samples needs.

    Args:
        sampling: Which masks are drawn.
        preparation: How slices are prepared.
        seed: Of the run.
    """

    sampling: SamplingConfig
    preparation: Preparation
    seed: int


def as_sample(ready: Prepared) -> Sample:
    """A prepared slice as the task takes it."""
    assert ready.target is not None, "a slice to learn from has a target"
    return {
        "masked": ready.masked,
        "mask": ready.mask,
        "maps": ready.maps,
        "target": ready.target,
    }


def complex_tensor(kspace: np.ndarray) -> Tensor:
    """Complex numbers as a tensor with a last axis (real, imaginary)."""
    return torch.view_as_real(torch.from_numpy(np.ascontiguousarray(kspace, dtype=np.complex64)))


class SimulatedSamples(Dataset[Sample]):
    """Slices made of images and phantoms.

    Args:
        sources: Images of the data; empty shows phantoms alone.
        config: How slices are simulated.
        stream: Masks, preparation and seed.
    """

    def __init__(
        self, sources: Sequence[ImageSource], config: SimulationConfig, stream: Stream
    ) -> None:
        self.sources, self.stream = list(sources), stream
        share = config.phantoms if self.sources else 1.0
        rows = config.strip(stream.sampling.of_columns)
        self.config = replace(config, phantoms=share, rows=rows)
        self.phantom = lru_cache(maxsize=_PHANTOMS)(self._phantom)

    def __getitem__(self, key: SampleKey) -> Sample:
        """The sample of a place in the run."""
        return self.sample(STREAM_SAMPLES, key.epoch, key.number)

    def held_back(self, count: int) -> list[Sample]:
        """Slices of the validation: of another stream than those of the training."""
        return [self.sample(STREAM_VALIDATION, 0, number) for number in range(count)]

    def sample(self, *path: int) -> Sample:
        """The sample of a path of numbers."""
        with seeded(self.stream.seed, *path) as generator:
            for _ in range(20):
                made = simulate(self._source(generator), self.config, generator)
                if np.abs(made.image).max() > _FAINT:
                    break
            mask = drawn(
                self.stream.sampling, made.kspace.shape[1:], words_of(self.stream.seed, *path)
            )
            # padding has no place in simulated data, whose noise is everywhere
            settings = replace(self.stream.preparation, padding=0.0, centred=True)
            return as_sample(prepare(complex_tensor(made.kspace), mask, settings))

    def _source(self, generator: np.random.Generator) -> ImageSource:
        if generator.uniform() < self.config.phantoms:
            return self.phantom(int(generator.integers(_PHANTOMS)))
        return self.sources[int(generator.integers(len(self.sources)))]

    def _phantom(self, number: int) -> ImageSource:
        generator = np.random.default_rng(words_of(self.stream.seed, _PHANTOMS, number))
        return ImageSource(head_phantom(self.config.size, generator))

    def __getstate__(self) -> dict[str, object]:
        state = dict(self.__dict__)
        del state["phantom"]
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.phantom = lru_cache(maxsize=_PHANTOMS)(self._phantom)


@dataclass(frozen=True)
class SlicePlace:
    """Where a slice lies.

    Args:
        path: Its file.
        case: The file's case.
        index: Its number there.
        shape: Coils, rows and columns.
        copy: Its samples in the preprocessed folder, where the file is slow to read.
    """

    path: Path
    case: str
    index: int
    shape: tuple[int, int, int]
    copy: Path | None = None


class MeasuredSamples(Dataset[Sample]):
    """Fully sampled slices of the data, undersampled afresh or by a mask of the file's name.

    A batch holds slices of one shape.

    Args:
        places: The slices.
        stream: Masks, preparation and seed.
        batch_size: Slices of a step.
        runs: From places, a number and a generator to neighbouring slices of one volume, which
            share a mask; None takes slices by themselves.
    """

    def __init__(
        self,
        places: Sequence[SlicePlace],
        stream: Stream,
        batch_size: int = 1,
        runs: Runs | None = None,
    ) -> None:
        if not places:
            raise BadDataError("there is no fully sampled slice to learn from in this fold.")
        self.stream, self.batch_size, self.runs = stream, batch_size, runs
        self.classes: dict[tuple[int, ...], list[SlicePlace]] = {}
        for place in places:
            self.classes.setdefault(place.shape, []).append(place)
        self.places = list(places)

    def __getitem__(self, key: SampleKey) -> Sample:
        """The sample of a place in the run."""
        batch = key.number // self.batch_size
        with seeded(self.stream.seed, STREAM_SAMPLES, key.epoch, batch) as generator:
            # a slice of any shape comes as often as any other
            shape = self.places[int(generator.integers(len(self.places)))].shape
            alike = self.classes[shape]
            if self.runs is not None:
                place = self.runs(alike, self.batch_size, generator)[key.number % self.batch_size]
                return self.slice(
                    place, words_of(self.stream.seed, STREAM_SAMPLES, key.epoch, batch)
                )
        path = (STREAM_SAMPLES, key.epoch, key.number, 1)
        with seeded(self.stream.seed, *path) as generator:
            place = alike[int(generator.integers(len(alike)))]
        return self.slice(place, words_of(self.stream.seed, *path))

    def held_back(self, count: int) -> list[Sample]:
        """Slices spread over the files, each with the mask of its file's name."""
        if self.runs is not None:
            return [
                stacked([self.slice(place, place.case) for place in run])
                for run in spread_runs(self.places, self.batch_size, count)
            ]
        step = max(1, len(self.places) // max(1, count))
        return [self.slice(place, place.case) for place in self.places[::step][:count]]

    def slice(self, place: SlicePlace, seed: tuple[int, ...] | str) -> Sample:
        """One slice with the mask of a seed."""
        volume = open_volume(place.path, place.copy)
        kspace = complex_tensor(volume.read(place.index))
        sampling = self.stream.sampling
        mask = drawn(sampling, place.shape[1:], place.case if sampling.by_file else seed)
        if volume.padding is not None:
            never = torch.from_numpy(np.asarray(volume.padding, dtype=bool))
            found = mask
            mask = lambda padding: found(padding | never)  # noqa: E731 - the header's padding beside
        sample = as_sample(prepare(kspace, mask, self.stream.preparation))
        if volume.recon_size is not None:
            sample["crop"] = torch.tensor(volume.recon_size)
        return sample


def spread_runs(places: Sequence[SlicePlace], size: int, count: int) -> list[list[SlicePlace]]:
    """Runs of neighbouring slices from the middle of volumes, about `count` slices in all."""
    volumes: dict[str, list[SlicePlace]] = {}
    for place in places:
        volumes.setdefault(place.case, []).append(place)
    wanted = max(1, count // size) if count else 0
    step = max(1, len(volumes) // max(1, wanted))
    found = []
    for volume in list(volumes.values())[::step][:wanted]:
        first = (len(volume) - size) // 2
        found.append(volume[first : first + size])
    return found


def stacked(samples: Sequence[Sample]) -> Sample:
    """Samples as a batch."""
    return {name: torch.stack([each[name] for each in samples]) for name in samples[0]}
