import numpy as np
import pytest

from medssm.metrics.reliability import reliability


def test_honest_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(size=40000)
    assert reliability(rng.uniform(size=said.size) < said, said).error < 0.02


def test_the_error_is_the_gap_weighted_by_the_answers_of_a_bin() -> None:
    said = np.array([0.05, 0.05, 0.05, 0.95])
    found = reliability(np.array([False, False, False, False]), said)
    assert found.count.tolist() == [3, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.error == pytest.approx((3 * 0.05 + 0.95) / 4)


def test_a_probability_of_one_lies_in_the_last_bin() -> None:
    assert reliability(np.array([True]), np.array([1.0])).count[-1] == 1
