import pytest
import torch

from medssm.fields.reconstruction.consistency import Measured, consistent, explained
from medssm.mri.coils import expand, normalise_maps
from medssm.mri.fourier import fft2


def _problem():
    generator = torch.Generator().manual_seed(0)
    maps = normalise_maps(torch.randn(1, 6, 16, 12, 2, generator=generator))
    image = torch.randn(1, 16, 12, 2, generator=generator)
    whole = fft2(expand(image, maps))
    mask = torch.zeros(1, 1, 16, 12, 1, dtype=torch.bool)
    mask[:, :, :, ::2] = True
    guess = whole + 0.5 * torch.randn(whole.shape, generator=generator)
    return whole, Measured(whole * mask, mask, maps, True), guess


def test_least_squares_bring_a_guess_nearer_to_the_truth():
    whole, measured, guess = _problem()
    truth = explained(whole, measured.maps, True)
    before = (explained(guess, measured.maps, True) - truth).norm()
    after = (explained(consistent(guess, measured, 0.01), measured.maps, True) - truth).norm()
    assert float(after) < 0.1 * float(before)


def test_a_large_weight_believes_the_network():
    _, measured, guess = _problem()
    assert torch.allclose(consistent(guess, measured, 1e6), guess, atol=1e-4)


def test_what_the_maps_do_not_explain_stays():
    _, measured, guess = _problem()
    moved = consistent(guess, measured, 0.03)
    rest = guess - explained(guess, measured.maps, True)
    assert torch.allclose(moved - explained(moved, measured.maps, True), rest, atol=1e-4)


def test_a_network_that_is_right_is_left_alone():
    whole, measured, _ = _problem()
    moved = consistent(whole, measured, 0.03)
    assert float((moved - whole).norm() / whole.norm()) == pytest.approx(0, abs=1e-4)
