"""Sensitivities: as published from the images of the centre, or ESPIRiT's."""

import numpy as np
import pytest
import torch

from medssm.core.errors import UsageError
from medssm.fields.reconstruction.phantoms import head_phantom
from medssm.fields.reconstruction.preparation import Preparation, sensitivities
from medssm.fields.reconstruction.program import program_of
from medssm.fields.reconstruction.samples import complex_tensor
from medssm.fields.reconstruction.simulation import ImageSource, SimulationConfig, simulate
from medssm.mri.coils import combine, expand
from medssm.mri.fourier import fft2, ifft2
from medssm.networks.recurrent_varnet import RecurrentVarNet

SIZE = (64, 56)


@pytest.fixture(scope="module")
def scan():
    config = SimulationConfig(size=SIZE, rows=0, coils=(6, 6), noise=(1e-4, 1e-4))
    source = ImageSource(head_phantom(SIZE, np.random.default_rng(0)))
    return complex_tensor(simulate(source, config, np.random.default_rng(1)).kspace)


def _unexplained(kspace, maps):
    """The part of k-space that no image behind the maps gives."""
    image = combine(ifft2(kspace[None]), maps[None])
    return float((fft2(expand(image, maps[None])) - kspace).norm() / kspace.norm())


def test_espirit_explains_what_low_resolution_maps_do_not(scan):
    acs = torch.zeros(1, *SIZE, 1, dtype=torch.bool)
    acs[:, 20:44, 16:40] = True
    published = sensitivities(scan, acs, Preparation())
    espirit = sensitivities(scan, acs, Preparation(maps="espirit"))
    assert _unexplained(scan, espirit) < 0.5 * _unexplained(scan, published)


def test_espirit_sees_the_centre_alone(scan):
    acs = torch.zeros(1, *SIZE, 1, dtype=torch.bool)
    acs[:, 20:44, 16:40] = True
    settings = Preparation(maps="espirit")
    changed = torch.where(acs, scan, torch.full_like(scan, 7.0))
    assert torch.equal(sensitivities(scan, acs, settings), sensitivities(changed, acs, settings))


def test_one_coil_has_no_sensitivity(scan):
    acs = torch.ones(1, *SIZE, 1, dtype=torch.bool)
    maps = sensitivities(scan[:1], acs, Preparation(maps="espirit"))
    assert torch.equal(maps[..., 0], torch.ones(1, *SIZE))


def test_a_program_cannot_make_them_and_says_so():
    network = RecurrentVarNet(num_steps=1, hidden_channels=2, num_layers=1)
    settings = Preparation(maps="espirit")
    with pytest.raises(UsageError, match="maps=given"):
        program_of(network, settings, given_maps=False, real=False)
    assert program_of(network, settings, given_maps=True, real=False) is not None
