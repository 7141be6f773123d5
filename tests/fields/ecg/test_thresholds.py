"""Thresholds: the coordinate ascent against trying every cut, and the other purposes."""

import itertools

import numpy as np
import pytest

from medssm.data.ecg.classes import challenge_classes
from medssm.fields.ecg.calibration import CalibrationConfig
from medssm.fields.ecg.thresholds import (
    best_f1,
    challenge_table,
    challenge_thresholds,
    tune,
)
from medssm.metrics.challenge import challenge_metric, f_measures

SINUS = 0


@pytest.fixture
def study() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    truth = rng.uniform(size=(80, 3)) < (0.5, 0.2, 0.1)
    chance = np.clip(0.25 * truth + rng.uniform(0, 0.5, truth.shape), 0, 1).round(2)
    weights = np.array([[1, 0.3, 0.4], [0.3, 1, 0.5], [0.4, 0.5, 1.0]])
    return chance, truth, weights


def test_tuned_thresholds_beat_one_half_where_they_were_tuned(study) -> None:
    chance, truth, weights = study
    cuts = challenge_thresholds(chance, truth, weights)
    tuned = challenge_metric(truth, chance >= cuts, weights, SINUS)
    assert tuned > challenge_metric(truth, chance >= 0.5, weights, SINUS) + 0.05


def test_no_single_threshold_can_be_moved_to_a_better_place(study) -> None:
    chance, truth, weights = study
    cuts = challenge_thresholds(chance, truth, weights, passes=20)
    best = challenge_metric(truth, chance >= cuts, weights, SINUS)
    for index, cut in itertools.product(range(3), np.linspace(0, 1.01, 102)):
        other = cuts.copy()
        other[index] = cut
        assert challenge_metric(truth, chance >= other, weights, SINUS) <= best + 1e-12


def test_the_best_f1_is_that_of_every_cut(study) -> None:
    chance, truth, _ = study
    for index in range(3):
        values, y = chance[:, index], truth[:, index]
        cut = best_f1(values, y)
        reached = f_measures(y[:, None], (values >= cut)[:, None])[0]
        tried = [f_measures(y[:, None], (values >= c)[:, None])[0] for c in np.unique(values)]
        assert reached == pytest.approx(max(tried))


def test_a_wished_sensitivity_is_reached_with_the_highest_threshold(study) -> None:
    chance, truth, _ = study
    classes = challenge_classes(2021)[:3]
    config = CalibrationConfig(thresholds="sensitivity", sensitivity=0.8)
    cuts = tune(chance, truth, np.ones_like(truth), classes, config)
    for index, cut in enumerate(cuts):
        positives = chance[truth[:, index], index]
        assert (positives >= cut).mean() >= 0.8
        higher = np.unique(positives[positives > cut])
        if len(higher):
            assert (positives >= higher[0]).mean() < 0.8


def test_unknown_records_do_not_move_a_threshold(study) -> None:
    chance, truth, _ = study
    classes = challenge_classes(2021)[:3]
    known = np.ones_like(truth)
    known[40:] = False
    config = CalibrationConfig(thresholds="f1")
    cuts = tune(chance, truth, known, classes, config)
    np.testing.assert_array_equal(cuts, tune(chance[:40], truth[:40], known[:40], classes, config))


def test_the_table_takes_the_scored_classes_in_the_order_given() -> None:
    classes = challenge_classes(2020)
    table = challenge_table(classes)
    assert table is not None
    weights, sinus, places = table
    assert weights.shape == (len(places), len(places)) == (24, 24)
    assert "426783006" in classes[places[sinus]].codes
    assert np.allclose(weights, weights.T)
    assert challenge_table(classes[:2]) is None


def test_a_class_that_only_costs_is_never_decided() -> None:
    chance = np.linspace(0.5, 0.9, 20)[:, None]
    truth = np.zeros((20, 1), bool)
    cut = challenge_thresholds(chance, truth, np.eye(1))
    assert not (chance >= cut).any()
