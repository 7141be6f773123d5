"""Folds that share out the labels of groups evenly, whatever a group carries."""

from collections.abc import Sequence

import numpy as np


def stratified_groups(labels: np.ndarray, sizes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Share groups out over folds so that each label is spread evenly.

    Args:
        labels: How many records of each group carry each label.
        sizes: Records of each group.
        folds: How many.
        seed: Decides where nothing else does.

    Returns:
        The fold of each group.

    Shape:
        labels: (G, C); sizes: (G,); result: (G,) int.

    Source:
        Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, 2011, over
        groups in place of single examples.
    """
    rng = np.random.default_rng(seed)
    # ties are broken by the order of this permutation, so that a seed decides them
    order = rng.permutation(len(sizes))
    wanted = np.repeat(labels.sum(axis=0, keepdims=True) / folds, folds, axis=0)
    room = np.full(folds, sizes.sum() / folds)
    fold = np.full(len(sizes), -1)
    remaining = (labels > 0).sum(axis=0).astype(np.int64)
    while (remaining > 0).any():
        rarest = int(np.argmin(np.where(remaining > 0, remaining, np.iinfo(np.int64).max)))
        members = [g for g in order if fold[g] < 0 and labels[g, rarest] > 0]
        # large groups first: small ones then fill what is left
        for group in sorted(members, key=lambda each: -sizes[each]):
            fold[group] = _choose(wanted[:, rarest], room)
            wanted[fold[group]] -= labels[group]
            room[fold[group]] -= sizes[group]
            remaining -= labels[group] > 0
    for group in sorted((g for g in order if fold[g] < 0), key=lambda each: -sizes[each]):
        fold[group] = int(np.argmax(room))
        room[fold[group]] -= sizes[group]
    return fold


def _choose(wanted: np.ndarray, room: np.ndarray) -> int:
    """The fold that wants the label most, and of those the emptiest."""
    most = np.flatnonzero(wanted >= wanted.max() - 1e-9)
    return int(most[np.argmax(room[most])])


def joined(keys: Sequence[Sequence[str]]) -> list[int]:
    """Group rows that share any key.

    Args:
        keys: The keys of each row, e.g. its patient and its hash; "" is none.

    Returns:
        The number of each row's group, in order of first sight.
    """
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[int, str], int] = {}
    for row, given in enumerate(keys):
        for kind, key in enumerate(given):
            if key:
                parent[root(row)] = root(first.setdefault((kind, key), row))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(row), len(numbers)) for row in range(len(keys))]
