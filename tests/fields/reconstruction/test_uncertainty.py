import numpy as np
import pytest
import torch

from medssm.fields.reconstruction.uncertainty import (
    calibration,
    noise_spread,
    thinned,
    with_noise,
)
from medssm.mri.undersampling import draw_mask


def test_honest_deviations_hold_95_percent_within_two_of_them():
    generator = np.random.default_rng(0)
    spread = generator.uniform(0.5, 2.0, (1, 200, 200))
    error = np.abs(generator.normal(0, spread))
    found = calibration(error, spread, np.ones_like(error, dtype=bool))
    assert found["within_1"] == pytest.approx(0.683, abs=0.01)
    assert found["within_2"] == pytest.approx(0.954, abs=0.01)
    assert found["scale"] == pytest.approx(0.98, abs=0.03)
    assert np.allclose(found["stated"], found["met"], rtol=0.1)


def test_deviations_that_are_half_as_large_ask_for_twice_the_scale():
    error = np.abs(np.random.default_rng(1).normal(0, 1.0, (1, 100, 100)))
    found = calibration(error, np.full_like(error, 0.5), np.ones_like(error, dtype=bool))
    assert found["scale"] == pytest.approx(1.96, abs=0.06)
    assert found["within_2"] == pytest.approx(0.683, abs=0.02)


def test_the_rim_of_kspace_tells_the_noise():
    generator = np.random.default_rng(2)
    kspace = torch.zeros(4, 64, 64, 2)
    kspace[:, 24:40, 24:40] = 5.0
    full = torch.ones(64, 64, dtype=torch.bool)
    noisy = with_noise(kspace, full, 0.2, generator)
    assert noise_spread(noisy, full) == pytest.approx(0.2, rel=0.05)


def test_a_thinned_mask_keeps_its_centre_and_whole_columns():
    mask = draw_mask("random", (16, 120), 3, 0.1, 0)
    less = thinned(mask.sampled, mask.acs, 0.3, np.random.default_rng(0))
    assert bool((less | ~mask.acs).all())
    assert int(less.sum()) < int(mask.sampled.sum())
    assert bool((less == less[:1]).all())
