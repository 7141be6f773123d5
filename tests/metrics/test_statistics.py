"""Intervals and paired comparisons: known cases, same seed same answer."""

import numpy as np
import pytest

from medssm.metrics.statistics import bootstrap, compare


def test_the_interval_holds_the_mean_and_narrows_with_more_cases():
    values = np.random.default_rng(0).normal(0.8, 0.1, 400)
    few, many = bootstrap(list(values[:20])), bootstrap(list(values))
    assert few.low < few.mean < few.high
    assert many.high - many.low < few.high - few.low
    # the width of a normal mean's 95 % interval is 3.92 standard errors
    assert many.high - many.low == pytest.approx(3.92 * values.std() / 20, rel=0.1)


def test_the_same_seed_gives_the_same_interval():
    values = [0.1, 0.5, 0.7, 0.9]
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)


def test_comparison_of_a_better_model_finds_it_better():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.6, 0.8, 30)
    found = compare(list(base + rng.uniform(0.01, 0.05, 30)), list(base))
    assert found.difference.low > 0
    assert found.p_value < 1e-4
    assert (found.wins, found.losses) == (30, 0)


def test_equal_models_differ_by_nothing():
    found = compare([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert (found.p_value, found.difference.mean, found.wins) == (1.0, 0.0, 0)
