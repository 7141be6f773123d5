"""Crops and their masks: crop i of epoch e is a function of (seed, e, i)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medssm.core.errors import UsageError
from medssm.data.volume_store import VolumeStore
from medssm.fields.pretraining.train_config import TrainConfig
from medssm.layers.masking import random_visible
from medssm.training.order import STREAM_SAMPLES, STREAM_VALIDATION, SampleKey, seeded, words_of


def grid_of(crop: Sequence[int], cell: Sequence[int]) -> tuple[int, ...]:
    """Cells of a crop along each axis.

    Raises:
        UsageError: The crop has another rank than the network, or is no multiple of its cells.
    """
    if len(crop) != len(cell):
        raise UsageError(
            f"crop={list(crop)}: the network takes {len(cell)} axes; take crop with {len(cell)} "
            f"numbers or network.spatial_dims={len(crop)}."
        )
    if any(size % edge for size, edge in zip(crop, cell, strict=True)):
        fitting = [max(1, round(size / edge)) * edge for size, edge in zip(crop, cell, strict=True)]
        raise UsageError(
            f"crop={list(crop)}: expected multiples of the network's cells, {list(cell)}; take "
            f"crop={fitting}."
        )
    return tuple(size // edge for size, edge in zip(crop, cell, strict=True))


class CropSamples(Dataset[dict[str, Tensor]]):
    """Random crops of the volumes of a store, each with the cells that the encoder sees.

    Every volume comes in turn, in another order each epoch.

    Args:
        store: Where the volumes are.
        names: Volumes to learn from.
        config: Crop, mask, flips and seed.
        grid: Cells of a crop.
    """

    def __init__(
        self, store: VolumeStore, names: Sequence[str], config: TrainConfig, grid: Sequence[int]
    ) -> None:
        self.store, self.names, self.config = store, tuple(names), config
        self.grid = tuple(grid)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        config = self.config
        place = key.number // config.crops_per_volume
        lap, place = divmod(place, len(self.names))
        name = self.names[self._order(key.epoch, lap)[place]]
        with seeded(config.seed, STREAM_SAMPLES, key.epoch, key.number) as rng:
            crop = _crop(self.store, name, config, rng)
            axes = [
                axis
                for axis, chance in zip(range(crop.ndim), config.flips, strict=False)
                if rng.random() < chance
            ]
            image = np.ascontiguousarray(np.flip(crop, tuple(axes)))
            ids = random_visible(1, self.grid, config.mask_ratio).ids[0]
        return {"image": torch.from_numpy(image)[None], "ids": ids}

    def _shuffled(self, epoch: int, lap: int) -> np.ndarray:
        words = words_of(self.config.seed, STREAM_SAMPLES, epoch, 0, lap)
        return np.random.default_rng(words).permutation(len(self.names))


def _crop(
    store: VolumeStore, name: str, config: TrainConfig, rng: np.random.Generator
) -> np.ndarray:
    size = (*config.crop, 1)[:3]
    start = store.start(name, size, rng)
    crop = store.windowed(name, start, size, config.window_hu)
    return crop.reshape(config.crop)


def held_back_crops(
    store: VolumeStore, names: Sequence[str], config: TrainConfig, grid: Sequence[int]
) -> list[tuple[str, Tensor, Tensor]]:
    """Name, image and visible cells of fixed crops, one a volume.

    Shape:
        image: (1, *S), ids: (K,).
    """
    made = []
    for index, name in enumerate(names[: config.held_back]):
        with seeded(config.seed, STREAM_VALIDATION, index) as rng:
            image = torch.from_numpy(np.ascontiguousarray(_crop(store, name, config, rng)))[None]
            ids = random_visible(1, grid, config.mask_ratio).ids[0]
        made.append((name, image, ids))
    return made
