"""Scores of bags: against lifelines and scikit-learn, and NaN with a reason."""

import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medssm.core.errors import BadArgumentError
from medssm.metrics.bags import classification_scores, survival_scores
from medssm.metrics.survival import bins_of, concordance, survival_edges


@pytest.mark.parametrize("seed", range(5))
def test_concordance_is_that_of_lifelines(seed) -> None:
    lifelines = pytest.importorskip("lifelines.utils")
    generator = np.random.default_rng(seed)
    months = generator.integers(1, 30, 60).astype(float)
    risk = generator.integers(0, 10, 60) / 10
    event = generator.random(60) < 0.6
    wanted = lifelines.concordance_index(months, -risk, event)
    assert concordance(months, risk, event) == pytest.approx(wanted, abs=1e-12)


def test_concordance_without_a_pair_is_nan_with_a_reason() -> None:
    scores = survival_scores([1.0, 2.0], [0.1, 0.2], [False, False])
    assert math.isnan(scores.values["c_index"])
    assert "no pair" in scores.reasons["c_index"]


def test_edges_are_quartiles_of_the_events_and_bins_are_closed_on_the_left() -> None:
    months, event = np.arange(1.0, 42.0), np.ones(41, bool)
    edges = survival_edges(months, event)
    assert edges.tolist() == pytest.approx([1 - 1e-6, 11, 21, 31, 41 + 1e-6])
    assert bins_of([0.5, 10.9, 11, 21, 40, 99], edges).tolist() == [0, 0, 1, 2, 3, 3]


def test_censored_times_move_the_ends_and_not_the_quartiles() -> None:
    edges = survival_edges([1, 2, 3, 4, 5, 50], [1, 1, 1, 1, 1, 0])
    assert edges[1:-1].tolist() == [2, 3, 4]
    assert edges[-1] == pytest.approx(50)


def test_events_of_one_time_leave_fewer_bins() -> None:
    assert len(survival_edges([1, 5, 5, 5, 9], [0, 1, 1, 1, 0])) == 3
    with pytest.raises(BadArgumentError, match="none of 2 patients"):
        survival_edges([1, 2], [0, 0])


def test_two_classes_are_scored_as_scikit_learn_does() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 50)
    share = generator.random(50)
    found = classification_scores(truth, np.stack((1 - share, share), 1)).values
    assert found["auc"] == pytest.approx(roc_auc_score(truth, share))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, share > 0.5))


def test_one_class_has_no_area_and_says_why() -> None:
    scores = classification_scores([1, 1], np.array([[0.4, 0.6], [0.7, 0.3]]))
    assert math.isnan(scores.values["auc"])
    assert "only the class 1" in scores.reasons["auc"]
    assert scores.values["accuracy"] == 0.5


def test_an_absent_class_is_left_out_of_the_mean_area() -> None:
    share = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    assert classification_scores([0, 1, 0], share).values["auc"] == 1.0
