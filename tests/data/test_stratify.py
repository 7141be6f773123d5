"""Stratified folds of groups: whole groups, even labels, decided by the seed."""

import numpy as np

from medssm.data.stratify import joined, stratified_groups


def _random(groups=400, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, groups).astype(float)
    shares = np.array([0.4, 0.2, 0.1, 0.05, 0.03, 0.02])[:classes]
    labels = rng.binomial(sizes.astype(int)[:, None], shares).astype(float)
    return labels, sizes


def test_labels_are_shared_out_evenly():
    labels, sizes = _random()
    fold = stratified_groups(labels, sizes, 5, seed=1)
    counts = np.array([labels[fold == k].sum(axis=0) for k in range(5)])
    assert np.abs(counts - counts.mean(axis=0)).max() <= 3
    total = np.array([sizes[fold == k].sum() for k in range(5)])
    assert np.abs(total / total.mean() - 1).max() < 0.12


def test_chance_would_be_less_even():
    labels, sizes = _random()
    fold = stratified_groups(labels, sizes, 5, seed=1)
    by_chance = np.random.default_rng(0).integers(0, 5, len(sizes))

    def spread(given):
        counts = np.array([labels[given == k].sum(axis=0) for k in range(5)])
        return np.abs(counts - counts.mean(axis=0)).sum()

    assert spread(fold) < 0.3 * spread(by_chance)


def test_the_seed_decides():
    labels, sizes = _random()
    one, two, other = (stratified_groups(labels, sizes, 5, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_groups_without_a_label_fill_the_room():
    fold = stratified_groups(np.zeros((20, 3)), np.ones(20), 4, seed=0)
    assert np.bincount(fold).tolist() == [5, 5, 5, 5]


def test_rows_that_share_any_key_are_one_group():
    keys = [("p1", "h1"), ("p2", "h2"), ("p1", "h3"), ("p3", "h2"), ("p4", "h9"), ("", "h5")]
    assert joined(keys) == [0, 1, 0, 1, 2, 3]


def test_keys_of_different_kinds_do_not_meet():
    assert joined([("a", "b"), ("b", "a")]) == [0, 1]


def test_chains_are_followed():
    assert joined([("a", "1"), ("b", "2"), ("b", "1"), ("c", "2")]) == [0, 0, 0, 0]
