"""Every mixer learns inside the U-shaped networks, in images and volumes."""

import pytest
import torch
import torch.nn.functional as F

from medssm.core.signature import parameters_of
from medssm.layers.mixers import MIXERS
from medssm.networks import NETWORKS
from medssm.runs.compose import compose, groups
from tests.support.tiny import TINY_MIXERS, TINY_NETWORKS

NAMES = sorted({MIXERS[name]: name for name in sorted(MIXERS)}.values())  # each class once
U_SHAPED = [name for name in sorted(NETWORKS) if "mixer" in parameters_of(NETWORKS.load(name))]
SIZES = {2: (10, 8), 3: (4, 6, 4)}
# the narrowest level that every mixer takes, and no more levels than needed
WIDE = {
    "lightm_unet": {"init_filters": 32, "blocks_down": [1, 1], "blocks_up": [1]},
    "vm_unet": {"width": 32},
    "mhs_vm": {"width": 32},
    "msvm_unet": {"width": 32},
    "hybrid_mamba": {"widths": [8, 32]},
    "segmamba": {"widths": [32, 32]},
}


def build(network, mixer, spatial_dims):
    torch.manual_seed(0)
    tiny = {**TINY_NETWORKS[network], **WIDE[network]}
    place = {"spatial_dims": spatial_dims, "in_channels": 1, "out_channels": 2}
    chosen = {"name": mixer, **TINY_MIXERS.get(mixer, {})}
    return NETWORKS.build(**{"name": network, **tiny, **place, "mixer": chosen})


def step_lowers_the_loss(network, spatial_dims):
    x = torch.randn(2, 1, *SIZES[spatial_dims])
    target = (x[:, 0] > 0).long()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        losses.append(F.cross_entropy(network(x), target))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    return losses[1] < losses[0]


@pytest.mark.parametrize("spatial_dims", SIZES)
@pytest.mark.parametrize("mixer", NAMES)
def test_a_training_step_of_lightm_unet_lowers_the_loss(mixer, spatial_dims):
    assert step_lowers_the_loss(build("lightm_unet", mixer, spatial_dims), spatial_dims)


@pytest.mark.slow
@pytest.mark.parametrize("mixer", NAMES)
@pytest.mark.parametrize("network", [name for name in U_SHAPED if name != "lightm_unet"])
def test_the_other_networks_take_every_mixer(network, mixer):
    made = build(network, mixer, 2).eval()
    y = made(torch.randn(1, 1, *made.divisors))
    assert y.shape == (1, 2, *made.divisors)
    assert y.isfinite().all()


def test_every_mixer_has_a_file_to_choose_it_by():
    assert set(groups()["mixer"]) == set(MIXERS)


@pytest.mark.parametrize("mixer", sorted(MIXERS))
def test_a_command_puts_the_mixer_into_its_network(mixer):
    facts = {"spatial_dims": 2, "num_channels": 1, "num_outputs": 2}
    chosen = compose("segmentation", [f"mixer@network.mixer={mixer}"], facts)["network"]["mixer"]
    assert chosen["name"] == mixer
    assert MIXERS.build(**{"channels": 32, **_place(mixer), **chosen}) is not None


def _place(mixer):
    return {"spatial_dims": 2} if "spatial_dims" in parameters_of(MIXERS.load(mixer)) else {}
