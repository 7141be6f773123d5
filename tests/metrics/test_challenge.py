"""The Challenge scorers against plain loops over their definitions and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medssm.metrics.challenge import (
    beta_measures,
    challenge_metric,
    challenge_scores,
    f_measures,
    precision_area,
    roc_area,
)

CLASSES, RECORDS, SINUS = 5, 60, 2


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    truth = rng.uniform(size=(RECORDS, CLASSES)) < 0.3
    # few distinct values, so that ties are met
    chance = np.round(rng.uniform(size=truth.shape) * 0.6 + 0.4 * truth, 1)
    weights = rng.uniform(0.2, 0.8, (CLASSES, CLASSES))
    weights = (weights + weights.T) / 2
    np.fill_diagonal(weights, 1.0)
    return truth, chance >= 0.5, chance, weights


def test_the_areas_are_those_of_scikit_learn_with_ties(answers) -> None:
    truth, _, chance, _ = answers
    for index in range(CLASSES):
        pair = truth[:, index], chance[:, index]
        assert roc_area(*pair) == pytest.approx(roc_auc_score(*pair), abs=1e-12)
        assert precision_area(*pair) == pytest.approx(average_precision_score(*pair), abs=1e-12)


def test_areas_without_one_of_both_kinds_are_no_numbers() -> None:
    nobody, everybody = np.zeros(4, bool), np.ones(4, bool)
    values = np.linspace(0, 1, 4)
    assert np.isnan(roc_area(nobody, values))
    assert np.isnan(precision_area(nobody, values))
    assert np.isnan(roc_area(everybody, values))
    assert precision_area(everybody, values) == 1.0


def _reward(truth: np.ndarray, decided: np.ndarray, weights: np.ndarray) -> float:
    total = 0.0
    for true, said in zip(truth, decided, strict=True):
        share = 1.0 / max(int((true | said).sum()), 1)
        for j in np.flatnonzero(true):
            for k in np.flatnonzero(said):
                total += share * weights[j, k]
    return total


def test_the_challenge_metric_is_the_normalised_sum_over_all_pairs(answers) -> None:
    truth, decided, _, weights = answers
    sinus = np.zeros_like(truth)
    sinus[:, SINUS] = True
    dull, best, got = (_reward(truth, each, weights) for each in (sinus, truth, decided))
    expected = (got - dull) / (best - dull)
    assert challenge_metric(truth, decided, weights, SINUS) == pytest.approx(expected, abs=1e-12)
    assert challenge_metric(truth, truth, weights, SINUS) == 1.0
    assert challenge_metric(truth, sinus, weights, SINUS) == 0.0


def test_the_metric_is_zero_where_sinus_rhythm_is_perfect() -> None:
    truth = np.zeros((4, CLASSES), bool)
    truth[:, SINUS] = True
    assert challenge_metric(truth, ~truth, np.eye(CLASSES), SINUS) == 0.0


def test_f_counts_a_class_that_nobody_has_or_says_as_no_number(answers) -> None:
    truth, decided, _, _ = answers
    truth, decided = truth.copy(), decided.copy()
    truth[:, 0] = decided[:, 0] = False
    found = f_measures(truth, decided)
    assert np.isnan(found[0])
    hits = (truth[:, 1] & decided[:, 1]).sum()
    wrong = (truth[:, 1] != decided[:, 1]).sum()
    assert found[1] == pytest.approx(2 * hits / (2 * hits + wrong))


def test_beta_measures_weigh_a_record_by_its_labels(answers) -> None:
    truth, decided, _, _ = answers
    f, g = [], []
    for index in range(CLASSES):
        tp = fp = fn = 0.0
        for true, said in zip(truth, decided, strict=True):
            share = 1.0 / max(int(true.sum()), 1)
            tp += share * (true[index] and said[index])
            fp += share * (not true[index] and said[index])
            fn += share * (true[index] and not said[index])
        f.append(5 * tp / (5 * tp + fp + 4 * fn))
        g.append(tp / (tp + fp + 2 * fn))
    assert beta_measures(truth, decided) == pytest.approx((np.mean(f), np.mean(g)))


def test_the_print_has_the_columns_of_its_year(answers) -> None:
    scores = challenge_scores(*answers[:3], answers[3], SINUS, 2020)
    names = scores.official_text().splitlines()[0].split(",")
    assert names[4:] == ["Fbeta-measure", "Gbeta-measure", "Challenge metric"]
    newer = challenge_scores(*answers[:3], answers[3], SINUS, 2021)
    assert newer.official_text().splitlines()[0].count(",") == 4
    assert newer.official_class_text(list("abcde")).splitlines()[0] == "Classes,a,b,c,d,e"


def test_means_leave_out_classes_without_a_positive(answers) -> None:
    truth, decided, chance, weights = answers
    truth = truth.copy()
    truth[:, 3] = False
    scores = challenge_scores(truth, decided, chance, weights, SINUS)
    assert scores.averaged("auroc") == CLASSES - 1
    kept = [roc_area(truth[:, i], chance[:, i]) for i in range(CLASSES) if i != 3]
    assert scores.macro("auroc") == pytest.approx(np.mean(kept))
