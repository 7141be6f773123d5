"""Bags in one padded batch and bags read chunk by chunk answer as the whole sequence does."""

import pytest
import torch
from torch import nn

from medssm.layers.mixers import build_mixer
from medssm.layers.mixers import streamed as module
from medssm.layers.mixers.ragged import own_orders
from medssm.layers.mixers.streamed import stream_layer, streamable

MIXERS = {
    "mamba": {"name": "mamba"},
    "bidirectional": {"name": "bidirectional"},
    "bidirectional, mean": {"name": "bidirectional", "merge": "mean"},
    "with biases": {"name": "bidirectional", "projection_bias": True, "conv_bias": False},
    "srmamba": {"name": "srmamba", "rate": 7},
    "srmamba, unpadded": {"name": "srmamba", "rate": 7, "padding": "none"},
    "sr_lbmamba": {"name": "srmamba", "rate": 7, "window": 16},
    "lbmamba": {"name": "lbmamba", "window": 4},
    "lbmamba, backwards": {"name": "lbmamba", "window": 8, "layer": 1},
    "s4d": {"name": "s4d"},
}


def test_orders_of_shorter_bags_are_those_of_the_bags_alone() -> None:
    strides = torch.tensor([[0, 3, 6, 1, 4, 7, 2, 5, 8]])
    orders = own_orders(strides, torch.tensor([9, 6, 3]), 9)
    assert orders[0, 0].tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert orders[1, 0, :6].tolist() == [0, 3, 1, 4, 2, 5]
    assert orders[2, 0, :3].tolist() == [0, 1, 2]
    backwards = own_orders(torch.arange(8, -1, -1)[None], torch.tensor([4]), 9)
    assert backwards[0, 0, :4].tolist() == [3, 2, 1, 0]
    for row in orders[:, 0]:
        assert sorted(row.tolist()) == list(range(9))


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("length", [1, 5, 100, 203])
@pytest.mark.parametrize("title", MIXERS)
def test_a_streamed_layer_is_the_layer_on_the_whole_bag(title, length, lean, monkeypatch) -> None:
    torch.manual_seed(0)
    mixer = build_mixer(MIXERS[title], 16, spatial_dims=1).eval()
    norm = nn.LayerNorm(16)
    h = torch.randn(length, 16)
    with torch.inference_mode():
        wanted = h + mixer(norm(h)[None])[0]
        monkeypatch.setattr(module, "LEAN_BYTES", 0 if lean else 10**12)
        stream_layer(norm, mixer, h, steps=48)
    torch.testing.assert_close(h, wanted, atol=2e-6, rtol=0)


def test_what_cannot_be_streamed_is_known() -> None:
    assert streamable(build_mixer({"name": "srmamba"}, 16, 1))
    assert not streamable(build_mixer({"name": "s4d"}, 16, 1))
    assert not streamable(build_mixer({"name": "bidirectional", "layer_scale": 0.1}, 16, 1))
