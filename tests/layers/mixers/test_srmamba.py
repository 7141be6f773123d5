import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medssm.layers.mixers.srmamba import SequenceReorderingMamba
from medssm.ops.conv import causal_conv1d
from medssm.ops.scan import selective_scan
from tests.goldens.golden_init import golden_input, golden_tensor
from tests.support.shared import shared_folder


def branch(mixer, suffix, value, gate):
    """One branch as MambaMIL writes it: tokens already in the branch's order."""
    each = mixer.branch(suffix)
    u = causal_conv1d(value, each.taps[:, 0][None], each.bias[None])
    sizes = (each.step.shape[1], mixer.state, mixer.state)
    delta, B, C = F.linear(u, each.x_proj).split(sizes, dim=-1)
    delta = delta @ each.step.t()
    A, bias = -each.A_log.exp()[None], each.step_bias[None]
    return selective_scan(u, delta, A, B, C, each.D[None], delta_bias=bias, z=gate)


@pytest.mark.golden
@pytest.mark.parametrize("case", ["mambamil_srmamba_rate5_L100", "mambamil_srmamba_rate7_L100"])
def test_mamba_mil_around_it_gives_the_official_logits(case):
    file = shared_folder(f"goldens/pathology/{case}.json")
    stored = json.loads(file.read_text())
    asked = stored["arguments"]
    w = {key: golden_tensor(key, torch.empty(shape)) for key, shape in stored["state_dict"]}

    def pair(name):
        return w[f"{name}.weight"], w[f"{name}.bias"]

    h = F.linear(golden_input(case, stored["input_shape"]), *pair("_fc1.0"))
    h = F.relu(h) if asked["act"] == "relu" else h
    for layer in range(asked["layer"]):
        mixer = SequenceReorderingMamba(512, rate=asked["rate"])
        keys = [key for key in w if key.startswith(f"layers.{layer}.1.")]
        mixer.load_state_dict({key.split(".", 3)[-1]: w[key] for key in keys})
        h = h + mixer(F.layer_norm(h, (512,), *pair(f"layers.{layer}.0")))
    h = F.layer_norm(h, (512,), *pair("norm"))
    share = F.linear(F.linear(h, *pair("attention.0")).tanh(), *pair("attention.2")).softmax(1)
    logits = F.linear((share * h).sum(1), *pair("classifier"))
    wanted = torch.from_numpy(np.load(file.with_suffix(".npz"))["logits"]).view_as(logits)
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("length", "rate"), [(10, 5), (11, 4), (3, 7)])
def test_equals_padding_reordering_and_putting_back(length, rate):
    torch.manual_seed(0)
    mixer = SequenceReorderingMamba(8, state=4, rate=rate)
    x = torch.randn(2, length, 8)
    value, gate = mixer.in_proj(x).chunk(2, dim=-1)
    columns = math.ceil(length / rate)
    order = [k * rate + w for w in range(rate) for k in range(columns)]
    padded = [F.pad(each, (0, 0, 0, columns * rate - length))[:, order] for each in (value, gate)]
    second = torch.empty_like(padded[0])
    second[:, order] = branch(mixer, "_b", *padded)
    wanted = mixer.out_proj(branch(mixer, "", value, gate) + second[:, :length])
    torch.testing.assert_close(mixer(x), wanted, atol=1e-5, rtol=1e-4)


def test_padding_rows_count_as_published_and_can_be_left_out():
    torch.manual_seed(0)
    padded = SequenceReorderingMamba(8, state=4, rate=4)
    plain = SequenceReorderingMamba(8, state=4, rate=4, padding="none")
    plain.load_state_dict(padded.state_dict())
    # of 10 tokens, one of the two padding rows lies inside the second route
    whole, ragged = torch.randn(1, 12, 8), torch.randn(1, 10, 8)
    torch.testing.assert_close(padded(whole), plain(whole))
    assert not torch.allclose(padded(ragged), plain(ragged), atol=1e-5)
