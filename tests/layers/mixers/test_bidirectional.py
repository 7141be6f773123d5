import pytest
import torch

from medssm.layers.mixers.bidirectional import BidirectionalMamba
from medssm.layers.mixers.mamba import Mamba
from tests.support.golden_module import largest_difference


@pytest.mark.golden
@pytest.mark.parametrize(
    ("case", "arguments"),
    [
        ("ecg/vim_mixer_v2_div2", {"channels": 32, "merge": "mean"}),
        ("ecg/vim_mixer_v2_sum", {"channels": 16, "state": 8, "conv_width": 3}),
    ],
)
def test_equals_the_official_mixer(case, arguments):
    assert largest_difference(case, BidirectionalMamba(**arguments)) < 1e-5


def test_is_a_mamba_and_a_mamba_on_the_reversed_sequence():
    torch.manual_seed(0)
    both = BidirectionalMamba(8, state=4)
    ways = Mamba(8, state=4), Mamba(8, state=4)
    names = {key for key, _ in ways[0].named_parameters()}
    shared = {"in_proj.weight", "out_proj.weight"}
    values = both.state_dict()
    ways[0].load_state_dict({name: values[name] for name in names})
    suffixed = {
        name: name.replace("A_log", "A_b_log") if name == "A_log" else _with_suffix(name)
        for name in names - shared
    }
    ways[1].load_state_dict(
        {name: values[suffixed.get(name, name)] for name in names},
    )
    x = torch.randn(2, 13, 8)
    wanted = ways[0](x) + ways[1](x.flip(1)).flip(1)
    torch.testing.assert_close(both(x), wanted)


def _with_suffix(name):
    head, dot, tail = name.partition(".")
    return f"{head}_b{dot}{tail}"


def test_the_released_start_forgets_the_backward_step():
    torch.manual_seed(0)
    ours, theirs = BidirectionalMamba(8), BidirectionalMamba(8, released_start=True)
    assert ours.dt_proj_b.bias.max() < -2
    assert not theirs.dt_proj_b.bias.any()
    assert theirs.dt_proj.bias.max() < -2
