"""Which sample comes when: a pure function of (seed, epoch, index), whoever computes it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """A place in the stream of samples: what a dataset of ours is indexed by."""

    epoch: int
    number: int


# each use of the seed draws from its own stream, so that none repeats another's numbers
STREAM_SAMPLES, STREAM_DROPOUT, STREAM_VALIDATION = 1, 2, 3


def words_of(seed: int, *path: int) -> tuple[int, ...]:
    """Four 32-bit numbers that depend on every number of the path."""
    sequence = np.random.SeedSequence((seed, *path))
    return tuple(int(word) for word in sequence.generate_state(4))


@contextmanager
def seeded(seed: int, *path: int) -> Iterator[np.random.Generator]:
    """Run a block under its own random state of python, numpy and torch, then restore.

    Torch takes one thread inside: a sum over four threads differs in its last bit from a sum
    over one, and a worker process has one.

    Yields:
        A generator for draws that need no global state.
    """
    words = words_of(seed, *path)
    before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    threads = torch.get_num_threads()
    if threads != 1:
        torch.set_num_threads(1)
    try:
        random.seed(words[0])
        np.random.seed(words[1])  # noqa: NPY002
        torch.manual_seed(words[2])
        yield np.random.default_rng(words[3])
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.random.set_rng_state(before[2])
        if threads != 1:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class Share:
    """Which rank of how many this process is."""

    rank: int = 0
    ranks: int = 1


class BatchOrder(Sampler[list[SampleKey]]):
    """The batches of one rank from a place in the run to its end.

    Args:
        batch_size: Samples a batch and rank.
        batches_per_epoch: Batches an epoch and rank.
        epochs: Epochs of the whole run.
        start: Batches that are done already.
        share: Which of the ranks asks.
    """

    def __init__(
        self,
        batch_size: int,
        batches_per_epoch: int,
        epochs: int,
        start: int = 0,
        share: Share | None = None,
    ) -> None:
        self.batch_size, self.batches_per_epoch = batch_size, batches_per_epoch
        self.start, self.stop = start, batches_per_epoch * epochs
        self.share = share or Share()

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for batch in range(self.start, self.stop):
            epoch, place = divmod(batch, self.batches_per_epoch)
            first = (place * self.share.ranks + self.share.rank) * self.batch_size
            yield [SampleKey(epoch, first + slot) for slot in range(self.batch_size)]


def quiet_worker(_: int) -> None:
    """Keep a worker's arithmetic on one thread; the cores belong to the training."""
    torch.set_num_threads(1)
