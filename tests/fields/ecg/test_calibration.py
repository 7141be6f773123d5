import numpy as np
import pytest

from medssm.fields.ecg.calibration import (
    Calibration,
    CalibrationConfig,
    average,
    fit_slopes,
    logit,
    no_calibration,
    read_calibration,
    sigmoid,
)
from medssm.metrics.reliability import reliability


def _overconfident(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    honest = rng.normal(-1.0, 1.5, (n, 2))
    truth = rng.uniform(size=honest.shape) < sigmoid(honest)
    # twice too sure, and one class shifted
    return sigmoid(2 * honest + np.array([0.0, 1.0])), truth


def test_platt_finds_slope_and_shift_and_lowers_the_error() -> None:
    said, truth = _overconfident()
    known = np.ones_like(truth)
    slope, shift = fit_slopes(said, truth, known, CalibrationConfig())
    np.testing.assert_allclose(slope, 0.5, atol=0.05)
    np.testing.assert_allclose(shift, [0.0, -0.5], atol=0.1)
    mended = Calibration(slope, shift, np.full(2, 0.5)).apply(said)
    assert reliability(truth, mended).error < 0.5 * reliability(truth, said).error


def test_a_temperature_has_no_shift() -> None:
    said, truth = _overconfident()
    config = CalibrationConfig(method="temperature")
    slope, shift = fit_slopes(said, truth, np.ones_like(truth), config)
    assert slope[0] == pytest.approx(0.5, abs=0.05)
    assert (shift == 0).all()


def test_a_class_without_positives_or_knowledge_stays_as_it_is() -> None:
    said, truth = _overconfident(50)
    truth[:, 0] = False
    known = np.ones_like(truth)
    known[:, 1] = False
    slope, shift = fit_slopes(said, truth, known, CalibrationConfig())
    assert slope.tolist() == [1, 1]
    assert shift.tolist() == [0, 0]


def test_one_positive_cannot_run_away() -> None:
    said = np.full((20, 1), 0.2)
    said[0] = 0.9
    truth = np.zeros((20, 1), bool)
    truth[0] = True
    slope, shift = fit_slopes(said, truth, np.ones_like(truth), CalibrationConfig())
    assert 0.05 <= slope[0] < 5
    assert abs(shift[0]) < 5


def test_order_is_kept_even_where_the_network_is_wrong() -> None:
    said, truth = _overconfident(500)
    slope, _ = fit_slopes(said, ~truth, np.ones_like(truth), CalibrationConfig())
    assert (slope > 0).all()


def test_it_survives_the_file_and_folds_average_their_thresholds() -> None:
    one = Calibration(np.array([0.5]), np.array([0.1]), np.array([0.3]), "platt", "challenge")
    again = read_calibration(one.plain())
    assert again.plain() == one.plain()
    other = Calibration(np.array([1.0]), np.array([0.0]), np.array([0.5]), "platt", "challenge")
    joined = average([one, other])
    assert joined.thresholds.tolist() == [0.4]
    chance = np.array([0.2])
    np.testing.assert_allclose(joined.apply(chance), chance)


def test_extremes_stay_finite() -> None:
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    np.testing.assert_allclose(no_calibration(1).apply(np.array([0.25])), 0.25)
