"""The network without complex numbers answers as the network."""

import pytest
import torch

from medssm.mri.coils import estimate_maps, windowed_centre
from medssm.networks.recurrent_varnet import RecurrentVarNet
from medssm.networks.recurrent_varnet_pairs import RealRecurrentVarNet, real_maps


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"initializer": "sense", "refinement": True, "refinement_pools": 2},
        {"initializer": "zero_filled", "shared": True, "normalised": True, "centred": False},
    ],
)
@pytest.mark.parametrize("coils", [1, 3])
def test_real_numbers_alone_give_the_same(arguments, coils):
    torch.manual_seed(0)
    network = RecurrentVarNet(num_steps=2, hidden_channels=4, num_layers=2, **arguments).eval()
    masked = torch.randn(2, coils, 19, 16, 2)
    mask = torch.rand(2, 1, 19, 16, 1) > 0.4
    masked = masked * mask
    with torch.no_grad():
        maps = estimate_maps(masked, mask, network.centred)
        assert torch.allclose(
            real_maps(windowed_centre(masked, mask, 0.7), network.centred), maps, atol=1e-5
        )
        expected = network(masked, mask, maps)
        found = RealRecurrentVarNet(network)(masked, mask, maps)
    assert torch.allclose(found, expected, atol=2e-5)
