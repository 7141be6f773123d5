import json

import numpy as np
import pytest
import torch

from medssm.core.errors import BadArgumentError
from medssm.layers.mixers import build_mixer
from medssm.layers.mixers.lbmamba import LocallyBidirectionalMamba
from medssm.layers.mixers.mamba import Mamba
from medssm.ops.scan import selective_scan
from tests.goldens.golden_init import golden_input
from tests.support.shared import shared_folder


def pair(**options):
    torch.manual_seed(0)
    mixer = LocallyBidirectionalMamba(8, spatial_dims=2, state=4, **options)
    plain = Mamba(8, state=4)
    plain.load_state_dict(mixer.state_dict())
    return mixer, plain


@pytest.mark.golden
@pytest.mark.parametrize("length", [37, 200, 600])
def test_its_scan_equals_the_definition_in_double_precision(length):
    case = f"lbm_scan_L{length}"
    file = shared_folder(f"goldens/pathology/{case}.json")
    stored = json.loads(file.read_text())
    x = {key: golden_input(f"{case}:{key}", shape) for key, shape in stored["input_shape"].items()}
    u, delta, B, C, z = (x[key].t()[None] for key in ("u", "delta", "B", "C", "z"))
    y = selective_scan(
        u,
        delta[:, None],
        -torch.exp(0.5 * x["A"])[None],
        B[:, None],
        C[:, None],
        x["D"][None],
        delta_bias=x["bias"][None] - 2,
        z=z,
        local_window=stored["arguments"]["window"],
    )
    wanted = torch.from_numpy(np.load(file.with_suffix(".npz"))["output"]).t()[None]
    torch.testing.assert_close(y, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("window", [0, 1])
def test_a_window_of_one_is_plain_mamba(window):
    mixer, plain = pair(window=window)
    assert mixer.causal
    x = torch.randn(2, 4, 5, 8)
    torch.testing.assert_close(mixer(x), plain(x))


def test_a_token_sees_the_later_ones_of_its_window_only():
    mixer, _ = pair(window=4)
    x = torch.randn(1, 1, 12, 8)
    changed = x.clone()
    changed[:, :, 7] += torch.randn(8)  # the last of the second window
    differs = ~torch.isclose(mixer(x), mixer(changed), atol=1e-6).all(dim=-1)[0, 0]
    assert differs.tolist() == [False] * 4 + [True] * 8


def test_every_other_layer_goes_backwards():
    forward, _ = pair(window=4)
    backward, _ = pair(window=4, layer=1)
    again, _ = pair(window=4, layer=2)
    x = torch.randn(1, 1, 12, 8)
    torch.testing.assert_close(backward(x), forward(x.flip(2)).flip(2))
    torch.testing.assert_close(again(x), forward(x))


def test_the_sweep_over_axes_goes_on_to_the_columns():
    rows, _ = pair(window=4, sweep="axes")
    columns, _ = pair(window=4, sweep="axes", layer=2)
    x = torch.randn(1, 3, 4, 8)
    torch.testing.assert_close(columns(x), rows(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize(("length", "window"), [(128, 4), (129, 8), (256, 8), (257, 16)])
def test_the_automatic_window_is_the_official_kernels(length, window):
    assert LocallyBidirectionalMamba(8, window="auto").window_of(length) == window


def test_networks_tell_it_its_layer():
    assert build_mixer({"name": "lbmamba"}, 8, 2, layer=3).index == 1
    with pytest.raises(BadArgumentError, match="window=-1"):
        build_mixer({"name": "lbmamba", "window": -1}, 8, 2)
