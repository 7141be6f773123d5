"""Every network over bags: a padded batch answers as the bags alone, whatever stands behind."""

from typing import Any

import pytest
import torch
from torch import nn

from medssm.core.errors import BadArgumentError, UsageError
from medssm.networks import BAG_NETWORKS

MIXERS: dict[str, dict[str, Any]] = {
    "mamba": {"name": "mamba", "state": 4},
    "bidirectional": {"name": "bidirectional", "state": 4},
    "srmamba": {"name": "srmamba", "state": 4, "rate": 5},
    "srmamba unpadded": {"name": "srmamba", "state": 4, "rate": 5, "padding": "none"},
    "sr_lbmamba": {"name": "srmamba", "state": 4, "rate": 5, "window": 4},
    "lbmamba": {"name": "lbmamba", "state": 4, "window": 4},
    "lbmamba auto": {"name": "lbmamba", "state": 4, "window": "auto"},
    "s4d both ways": {"name": "s4d", "state": 4, "directions": "both"},
}
TINY: dict[str, dict[str, Any]] = {
    **{
        f"mamba_mil {title}": {"name": "mamba_mil", "width": 16, "mixer": mixer}
        for title, mixer in MIXERS.items()
    },
    "mean": {"name": "instance_mil", "width": 8},
    "max": {"name": "instance_mil", "width": 8, "pooling": "max"},
    "attention": {"name": "attention_mil", "widths": [16, 8]},
    "gated attention": {"name": "attention_mil", "gated": True, "widths": [8]},
    "clam sb": {"name": "clam", "width": 16},
    "clam mb": {"name": "clam", "branches": "classes", "width": 16, "subtyping": True},
    "trans_mil": {"name": "trans_mil", "width": 32},
    "s4_mil": {"name": "s4_mil", "width": 8, "state": 4},
}
LENGTHS = (23, 1, 9, 3)


def tiny(title: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = BAG_NETWORKS.build(in_channels=6, out_channels=3, **TINY[title])
    return network


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(len(LENGTHS), max(LENGTHS), 6), torch.tensor(LENGTHS)


def test_every_network_is_walked() -> None:
    assert {each["name"] for each in TINY.values()} == set(BAG_NETWORKS)


@pytest.mark.parametrize("title", TINY)
def test_a_padded_batch_answers_as_the_bags_alone(title: str) -> None:
    network = tiny(title).eval()
    bags, lengths = batch()
    for i, length in enumerate(LENGTHS):
        bags[i, length:] = 100.0
    with torch.no_grad():
        together = network(bags, lengths)
        for i, length in enumerate(LENGTHS):
            alone = network(bags[i : i + 1, :length])
            torch.testing.assert_close(together.logits[i], alone.logits[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(
                together.attention[i, :, :length], alone.attention[0], atol=1e-5, rtol=0
            )
            assert not together.attention[i, :, length:].any()


@pytest.mark.parametrize("title", TINY)
def test_the_gradients_of_a_padded_batch_are_those_of_the_bags_alone(title: str) -> None:
    network = tiny(title).eval()
    bags, lengths = batch()
    bags = bags.double().requires_grad_()
    network.double()
    network(bags, lengths).logits.square().sum().backward()
    together = {key: each.grad.clone() for key, each in network.named_parameters() if
                each.grad is not None}  # fmt: skip
    of_bags, bags.grad = bags.grad, None
    network.zero_grad()
    for i, length in enumerate(LENGTHS):
        network(bags[i : i + 1, :length]).logits.square().sum().backward()
    torch.testing.assert_close(of_bags, bags.grad, atol=1e-9, rtol=1e-6)
    alone = {key: each.grad for key, each in network.named_parameters() if each.grad is not None}
    assert together.keys() == alone.keys()
    for key, each in together.items():
        torch.testing.assert_close(each, alone[key], atol=1e-9, rtol=1e-6, msg=key)


@pytest.mark.parametrize("title", TINY)
def test_each_row_of_the_attention_is_a_share_of_the_bag(title: str) -> None:
    bags, lengths = batch()
    output = tiny(title).eval()(bags, lengths)
    assert output.logits.shape == (4, 3)
    assert output.attention.shape[1:] in ((1, 23), (3, 23))
    torch.testing.assert_close(
        output.attention.sum(-1), torch.ones_like(output.attention[..., 0]), atol=1e-5, rtol=0
    )
    assert bool((output.attention >= 0).all())


@pytest.mark.parametrize("title", TINY)
def test_half_precision_features_are_read(title: str) -> None:
    bags, lengths = batch()
    network = tiny(title).eval()
    half = network(bags.half(), lengths).logits
    torch.testing.assert_close(half, network(bags.half().float(), lengths).logits)


@pytest.mark.parametrize(
    ("shape", "lengths"), [((2, 0, 6), None), ((2, 4, 5), None), ((2, 4, 6), (4, 0)),
                           ((2, 4, 6), (4, 5)), ((2, 4, 6), (4, 4, 4))]
)  # fmt: skip
def test_bags_that_do_not_fit_are_refused(shape, lengths) -> None:
    given = None if lengths is None else torch.tensor(lengths)
    with pytest.raises(BadArgumentError):
        tiny("attention")(torch.zeros(shape), given)


def test_a_misspelt_argument_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'in_channels'"):
        BAG_NETWORKS.build(name="mamba_mil", in_chanels=3)
