"""Training bags as a pure function of seed, epoch and number; batches padded at their ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from medssm.fields.pathology.plan_file import BagEntry
from medssm.fields.pathology.store import BagStore, Standard
from medssm.metrics.survival import bins_of
from medssm.training.order import STREAM_SAMPLES, SampleKey


@dataclass(frozen=True)
class Answers:
    """What is true of bags, as numbers.

    Shape:
        labels, bins, months, censored: (N,).
    """

    labels: Tensor
    bins: Tensor
    months: Tensor
    censored: Tensor

    def row(self, index: int) -> dict[str, Tensor]:
        """Of one bag."""
        return {name: value[index] for name, value in vars(self).items()}


def answers_of(bags: Sequence[BagEntry], edges: Sequence[float] | None) -> Answers:
    """The answers of bags, times in bins where there are edges."""
    months = [each.months or 0.0 for each in bags]
    bins = np.zeros(len(bags)) if edges is None else bins_of(months, edges)
    return Answers(
        torch.tensor([each.label or 0 for each in bags]),
        torch.from_numpy(np.asarray(bins)).long(),
        torch.tensor(months, dtype=torch.float32),
        torch.tensor([0.0 if each.event else 1.0 for each in bags]),
    )


@dataclass(frozen=True)
class Showing:
    """How training shows bags.

    Args:
        per_epoch: Bags an epoch.
        balanced: Draw strata alike.
        shuffle_tiles: Shuffle tiles each time.
        instances: Tiles at most.
        shuffle_labels: Permute the answers once.
        seed: Of everything random.
    """

    per_epoch: int
    balanced: bool = False
    shuffle_tiles: bool = False
    instances: int | None = None
    shuffle_labels: bool = False
    seed: int = 0


class BagSamples(Dataset[dict[str, Tensor]]):
    """The stream of training bags.

    Args:
        store: The features.
        names: The training bags.
        answers: What is true of them.
        strata: The stratum of each, for balanced showing.
        showing: How they are shown.
        standard: Applied to the features, if any.
    """

    def __init__(
        self,
        store: BagStore,
        names: Sequence[str],
        answers: Answers,
        strata: Sequence[int],
        showing: Showing,
        standard: Standard | None = None,
    ) -> None:
        self.store, self.names, self.showing = store, list(names), showing
        self.answers, self.standard = answers, standard
        self.strata = [np.flatnonzero(np.asarray(strata) == each) for each in sorted(set(strata))]
        self._cycle: tuple[int, np.ndarray] = (-1, np.zeros(0, int))
        if showing.shuffle_labels:
            mixed = torch.from_numpy(self._generator(0, 1).permutation(len(self.names)))
            self.answers = Answers(*(value[mixed] for value in vars(answers).values()))

    def __len__(self) -> int:
        return self.showing.per_epoch

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        """The bag at a place in the stream."""
        place = key.epoch * self.showing.per_epoch + key.number
        index = self._index(place)
        features = self._features(self.names[index])
        generator = self._generator(place, 2)
        wanted = self.showing.instances
        if wanted is not None and len(features) > wanted:
            chosen = np.sort(generator.choice(len(features), wanted, replace=False))
            features = features[torch.from_numpy(chosen)]
        if self.showing.shuffle_tiles:
            features = features[torch.from_numpy(generator.permutation(len(features)))]
        return {"bag": features, **self.answers.row(index)}

    def _features(self, name: str) -> Tensor:
        features = self.store.features(name)
        return features if self.standard is None else self.standard(features)

    def _index(self, place: int) -> int:
        if self.showing.balanced:
            generator = self._generator(place, 3)
            stratum = self.strata[generator.integers(len(self.strata))]
            return int(generator.choice(stratum))
        cycle, within = divmod(place, len(self.names))
        if self._cycle[0] != cycle:
            self._cycle = (cycle, self._generator(cycle, 4).permutation(len(self.names)))
        return int(self._cycle[1][within])

    def _generator(self, place: int, use: int) -> np.random.Generator:
        return np.random.default_rng((self.showing.seed, STREAM_SAMPLES, use, place))

    @staticmethod
    def collate(samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
        """A padded batch; `lengths` is left out where all bags are alike in length."""
        return padded(samples)


def padded(samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Bags of a batch padded with zeros at their ends, the answers stacked.

    Shape:
        bags: (B, L, D), lengths: (B,).
    """
    bags = [each["bag"] for each in samples]
    lengths = torch.tensor([len(each) for each in bags])
    batch = {
        name: torch.stack([each[name] for each in samples]) for name in samples[0] if name != "bag"
    }
    return {"bags": pad_sequence(bags, batch_first=True), "lengths": lengths, **batch}
