"""The factor of stated uncertainties: fitted on some patients, judged on others."""

import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.fields.reconstruction.calibration import (
    Factor,
    calibrate,
    errors_of,
    fit,
    key_of,
    read_factor,
    within_two,
    write_factor,
)

SHAPE = (2, 60, 50)
SETTINGS = {"uncertainty": "masks", "replicas": 8, "thinning": 0.2, "consistency": "auto",
            "weight": 0.03}  # fmt: skip


def _volume(patient, seed, stated=0.4, unit=3.0):
    """Errors of deviations of which only a part is stated, in units of the data."""
    generator = np.random.default_rng(seed)
    true = generator.uniform(0.5, 2.0, SHAPE)
    error = np.abs(generator.normal(0, true))
    where = np.ones(SHAPE, dtype=bool)
    return errors_of(patient, unit * error, unit * stated * true, where, [unit, unit])


def test_a_factor_makes_narrow_intervals_honest_on_other_patients():
    volumes = [_volume(f"p{n}", n, unit=1.0 + n) for n in range(4)]
    factor, facts = calibrate(volumes)
    assert facts["within_2_before"] < 0.65
    assert facts["within_2_after"] == pytest.approx(0.95, abs=0.01)
    assert factor.scale == pytest.approx(1 / 0.4 * 0.98, rel=0.05)
    assert factor.floor == 0


def test_a_floor_is_found_where_the_deviation_forgets_a_part():
    generator = np.random.default_rng(7)
    stated = generator.uniform(0.01, 1.0, SHAPE)
    error = np.abs(generator.normal(0, np.sqrt(stated**2 + 0.5**2)))
    volumes = [errors_of("p", error, stated, np.ones(SHAPE, dtype=bool), [1.0, 1.0])]
    factor = fit(volumes)
    assert 0.2 < factor.floor < 1.1
    low = stated < 0.2
    covered = (error[low] < 2 * factor.apply(stated, 1.0)[low]).mean()
    assert covered == pytest.approx(0.95, abs=0.03)


def test_the_halves_do_not_share_a_patient():
    # two volumes of each patient: one patient errs twice as much as stated, the other as stated
    volumes = [
        _volume("a", 0, 1.0),
        _volume("a", 1, 1.0),
        _volume("b", 2, 0.5),
        _volume("b", 3, 0.5),
    ]
    _, facts = calibrate(volumes)
    # the factor of "a" leaves "b" too narrow: it has seen neither of b's volumes
    assert facts["within_2_after_least"] < 0.75
    assert facts["patients"] == 2


def test_one_patient_is_not_enough():
    with pytest.raises(BadDataError, match="one patient"):
        calibrate([_volume("a", 0), _volume("a", 1)])


def test_zero_deviations_are_told():
    error, none = np.ones(SHAPE), np.zeros(SHAPE)
    with pytest.raises(BadDataError, match="zero"):
        fit([errors_of("a", error, none, none == 0, [1.0, 1.0])])


def test_a_factor_is_found_for_its_own_settings_alone(tmp_path):
    factor, facts = calibrate([_volume("a", 0), _volume("b", 1)])
    key = key_of("model", SETTINGS)
    write_factor(tmp_path, "another", {"factor": {"scale": 9.0, "floor": 0.0}})
    write_factor(tmp_path, key, facts)
    assert read_factor(tmp_path, key) == factor
    assert read_factor(tmp_path, "another") == Factor(9.0, 0.0)
    assert read_factor(tmp_path, key_of("model", {**SETTINGS, "replicas": 4})) is None
    assert within_two([_volume("c", 5)], factor)[0] == pytest.approx(0.95, abs=0.02)
