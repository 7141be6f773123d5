"""VM-UNet, MHS-VM and MSVM-UNet beyond the published numbers: options, sizes, starts."""

from typing import Any

import pytest
import torch

from medssm.core.errors import BadArgumentError
from medssm.layers.blocks import DropPath
from medssm.layers.mixers import MIXERS
from medssm.networks import NETWORKS
from medssm.networks.cost import cost
from tests.support.tiny import TINY_NETWORKS

NAMES = ("vm_unet", "mhs_vm", "msvm_unet")
SIZES = {2: (13, 21), 3: (9, 7, 10)}


def tiny(name: str, spatial_dims: int = 2, **changes: Any) -> Any:
    torch.manual_seed(0)
    arguments = {"spatial_dims": spatial_dims, "in_channels": 1, "out_channels": 3}
    return NETWORKS.build(**{"name": name, **arguments, **TINY_NETWORKS[name], **changes})


def deeper(name: str, **changes: Any) -> Any:
    decoder = [1, 1] if name == "msvm_unet" else [1, 1, 1]
    return tiny(name, depths=[1, 1, 1], decoder_depths=decoder, **changes)


@pytest.mark.parametrize("spatial_dims", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_odd_sizes_are_padded_at_the_far_end_and_cropped_back(name: str, spatial_dims: int) -> None:
    network = tiny(name, spatial_dims, pad=True).eval()
    x = torch.randn(1, 1, *SIZES[spatial_dims])
    fitting = [-(-size // by) * by for size, by in zip(x.shape[2:], network.divisors, strict=True)]
    larger = torch.zeros(1, 1, *fitting)
    inside = (slice(None), slice(None), *(slice(size) for size in x.shape[2:]))
    larger[inside] = x
    with torch.no_grad():
        logits = network(x)
        assert logits.shape == (1, 3, *x.shape[2:])
        assert torch.equal(logits, network(larger)[inside])


@pytest.mark.parametrize("name", NAMES)
def test_deep_supervision_gives_coarser_logits_while_training_only(name: str) -> None:
    network = deeper(name, deep_supervision=True)
    x = torch.randn(2, 1, 32, 48)
    logits = network(x)
    assert [tuple(each.shape[2:]) for each in logits] == [(32, 48), (4, 6)]
    sum(each.square().mean() for each in logits).backward()
    assert [key for key, each in network.named_parameters() if each.grad is None] == []
    assert network.eval()(x).shape == (2, 3, 32, 48)


@pytest.mark.parametrize("name", NAMES)
def test_a_grey_image_is_repeated_for_a_stem_of_three(name: str) -> None:
    network = tiny(name).eval()
    grey = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(grey), network(grey.repeat(1, 3, 1, 1)))
        own = tiny(name, grey_as_rgb=False)
    stem = next(each for each in own.parameters() if each.ndim == 4)
    assert stem.shape[1] == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mixer", sorted(MIXERS))
def test_every_mixer_fits(name: str, mixer: str) -> None:
    network = tiny(name, mixer={"name": mixer}, width=16)
    assert network(torch.randn(2, 1, 16, 16)).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("name", NAMES)
def test_the_twin_without_state_space_scans_nothing(name: str) -> None:
    assert cost(tiny(name), (1, 1, 16, 16)).scan_flops > 0
    assert cost(tiny(name, mixer={"name": "convolution"}), (1, 1, 16, 16)).scan_flops == 0


@pytest.mark.parametrize("name", ["vm_unet", "mhs_vm"])
def test_the_finest_skip_is_one_more_way_to_the_head(name: str) -> None:
    plain, skipping = tiny(name).eval(), tiny(name, finest_skip=True).eval()
    skipping.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        embedded = plain.embed(x.expand(-1, 3, -1, -1).movedim(1, -1))
        decoded = plain._decode(plain._encode(x.expand(-1, 3, -1, -1).movedim(1, -1)))[-1]
        expected = plain.head(decoded + embedded).movedim(-1, 1)
        torch.testing.assert_close(skipping(x), expected)


@pytest.mark.parametrize("name", ["vm_unet", "mhs_vm"])
def test_probabilities_are_the_sigmoid_of_the_logits(name: str) -> None:
    logits, probabilities = tiny(name).eval(), tiny(name, output="probabilities").eval()
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(probabilities(x), logits(x).sigmoid())


def _rates(modules: Any) -> list[float]:
    return [each.rate for each in modules.modules() if isinstance(each, DropPath)]


def test_dropped_paths_rise_in_the_encoder_and_fall_in_the_decoder() -> None:
    network = NETWORKS.build(name="vm_unet", width=8)
    assert _rates(network.encoder) == pytest.approx([0.2 * i / 7 for i in range(8)])
    assert _rates(network.decoder) == pytest.approx([0.2 * (6 - i) / 6 for i in range(7)])
    network = NETWORKS.build(name="msvm_unet", width=8)
    assert _rates(network.encoder) == pytest.approx([0.2 * i / 13 for i in range(14)])
    assert _rates(network.decoder) == pytest.approx([0.2, 0.16, 0.12, 0.08, 0.04, 0])


def test_a_dropped_path_is_dropped_whole_and_the_others_are_scaled() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 3, 2)
    y = drop(x)
    kept = y.flatten(1).amax(1)
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert torch.equal(kept, y.flatten(1).amin(1))
    assert y.mean().item() == pytest.approx(1, abs=0.03)
    assert drop.eval()(x) is x


def test_projections_start_as_published() -> None:
    network = NETWORKS.build(name="vm_unet", width=32)
    scan = network.encoder[0].blocks[0].mixer
    assert scan.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    network = NETWORKS.build(name="msvm_unet", width=64, depths=[1, 1], decoder_depths=[1])
    assert network.encoder.stages[0][0].mixer.in_proj.weight.std().item() == pytest.approx(
        0.02, rel=0.1
    )
    decoder = network.decoder[0].blocks[0].mixer.in_proj.weight
    assert decoder.abs().max().item() == pytest.approx(64**-0.5, rel=0.01)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("vm_unet", {"depths": [1, 1, 1]}, "one entry a level"),
        ("vm_unet", {"width": 18}, "take 20"),
        ("msvm_unet", {"depths": [1, 1, 1]}, "one entry fewer"),
        ("mhs_vm", {"mixer": {"name": "multi_head_scan", "heads": 5}}, "heads must lie in 1..4"),
        (
            "mhs_vm",
            {"mixer": {"name": "multi_head_scan", "heads": 3, "projection": False}},
            "no multiple of 3 heads",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadArgumentError, match=message):
        tiny(name, **changes)
