"""MambaMIL and its baselines: sizes as published, starts, weights of authors, streaming."""

import pytest
import torch

from medssm.core.errors import BadArgumentError, UsageError
from medssm.networks import BAG_NETWORKS
from medssm.networks.bag_stream import stream_bag
from medssm.networks.keymaps import load_official, to_official
from medssm.networks.mamba_mil import MambaMIL

SR = {"name": "srmamba", "rate": 5}


@pytest.mark.parametrize(
    ("mixer", "in_channels", "parameters"),
    [
        ({"name": "mamba"}, 1024, 3_984_131),
        ({"name": "bidirectional"}, 1024, 4_227_843),
        (SR, 1024, 4_227_843),
        ({"name": "mamba"}, 512, 3_721_987),
        (SR, 512, 3_965_699),
        ({"name": "lbmamba"}, 1024, 3_984_131),
    ],
)
def test_mamba_mil_has_the_published_number_of_parameters(mixer, in_channels, parameters) -> None:
    network = MambaMIL(in_channels, 2, mixer=mixer)
    assert sum(each.numel() for each in network.parameters()) == parameters


def test_the_official_start_forgets_the_steps_and_ours_keeps_them() -> None:
    official = MambaMIL(8, 2, width=64, init="official").layers[0].mixer
    ours = MambaMIL(8, 2, width=64).layers[0].mixer
    assert not official.dt_proj.bias.any()
    steps = torch.nn.functional.softplus(ours.dt_proj.bias.detach())
    assert float(steps.min()) > 5e-4
    assert float(steps.max()) < 0.11


def _official() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = MambaMIL(6, 2, width=16, depth=1, attention_width=4, mixer={**SR, "state": 4})
    return to_official("mamba_mil", network)


def test_weights_go_to_the_authors_and_back() -> None:
    state = _official()
    assert "_fc1.0.weight" in state
    assert "layers.0.1.A_b_log" in state
    network, report = load_official("mamba_mil", state, type="SRMamba", rate=5, act="gelu")
    assert not report.missing
    assert not report.left_over
    back = to_official("mamba_mil", network)
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("hints", "missing"),
    [
        ({}, "activation and type"),
        ({"type": "SRMamba", "act": "gelu"}, "rate"),
        ({"type": "SRMamba", "rate": 5}, "activation"),
        ({"rate": 5, "act": "gelu"}, "type"),
    ],
)
def test_what_leaves_no_trace_in_the_weights_must_be_said(hints, missing) -> None:
    with pytest.raises(UsageError, match=f"do not tell {missing}"):
        load_official("mamba_mil", _official(), **hints)


def test_a_type_that_the_weights_cannot_have_is_refused() -> None:
    with pytest.raises(UsageError, match="two branches"):
        load_official("mamba_mil", _official(), type="Mamba", act="gelu")


def test_another_type_of_two_branches_loads_and_answers_otherwise() -> None:
    bag = torch.randn(1, 40, 6)
    answers = [
        load_official("mamba_mil", _official(), act="gelu", **hints)[0](bag).logits
        for hints in ({"type": "SRMamba", "rate": 5}, {"type": "SRMamba", "rate": 7},
                      {"type": "BiMamba"})
    ]  # fmt: skip
    assert not torch.allclose(answers[0], answers[1], atol=1e-4)
    assert not torch.allclose(answers[0], answers[2], atol=1e-4)


def test_official_weights_start_a_local_window() -> None:
    mixer = {**SR, "window": 8}
    network, _ = load_official("mamba_mil", _official(), mixer=mixer, act="gelu")
    assert network.layers[0].mixer.window == 8
    assert network.layers[0].mixer.state == 4


@pytest.mark.parametrize(
    "mixer", [SR, {"name": "lbmamba", "window": 4}, {"name": "bidirectional"}, {"name": "mamba"}]
)
def test_a_streamed_bag_answers_as_the_whole_bag(mixer) -> None:
    torch.manual_seed(0)
    network = MambaMIL(6, 3, width=32, mixer=mixer).eval()
    bag = torch.randn(333, 6)
    with torch.no_grad():
        whole = network(bag[None])
    parts = stream_bag(network, bag.numpy(), steps=64)
    for mine, theirs in zip(parts, whole, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


def test_streaming_refuses_training_and_empty_bags() -> None:
    network = MambaMIL(6, 3, width=16)
    for made, bag in ((network, torch.zeros(4, 6)), (network.eval(), torch.zeros(0, 6))):
        made.train(made is network and len(bag) > 0)
        with pytest.raises(BadArgumentError, match="one tile or more"):
            stream_bag(made, bag)


def test_instances_of_clam_are_at_most_half_of_the_bag() -> None:
    torch.manual_seed(0)
    network = BAG_NETWORKS.build(name="clam", in_channels=6, out_channels=2, width=8, k_sample=8)
    network.eval()
    for length in (1, 2, 5, 30):
        _, loss = network.with_instance_loss(torch.randn(1, length, 6), None, torch.tensor([1]))
        assert bool(torch.isfinite(loss))
        assert (float(loss.detach()) == 0.0) == (length == 1)


def test_clam_without_classes_has_no_loss_of_instances() -> None:
    network = BAG_NETWORKS.build(name="clam", in_channels=6, out_channels=4, head="survival")
    assert network.instance_weight == 0.0
