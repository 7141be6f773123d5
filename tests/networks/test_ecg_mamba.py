"""ECG-Mamba: shapes, class tokens, positions, start values, Vim's keys there and back."""

import pytest
import torch

from medssm.core.errors import BadArgumentError, BadDataError
from medssm.networks import ECG_NETWORKS
from medssm.networks.ecg_mamba import ECGMamba, insert, places
from medssm.networks.keymaps import load_official, to_official

TINY = {
    "length": 96,
    "width": 16,
    "depth": 2,
    "out_channels": 5,
    "mixer": {"name": "vim", "state": 4},
}
PATCH = TINY | {"stem": "patch", "patch": 8, "stride": 4}


def tiny(**options: object) -> ECGMamba:
    torch.manual_seed(0)
    return ECGMamba(**{**TINY, **options}).eval()


@pytest.mark.parametrize("class_token", ["middle", "start", "end", "double", "none"])
@pytest.mark.parametrize("length", [96, 40, 131])
def test_any_length_gives_a_logit_a_class(class_token, length: int) -> None:
    network = tiny(class_token=class_token)
    assert network(torch.randn(3, 12, length)).shape == (3, 5)


def test_the_middle_token_stands_after_half_of_the_others() -> None:
    tokens = torch.arange(5.0)[None, :, None]
    made = insert(tokens, [torch.full((1, 1, 1), -1.0)], places("middle", 5))
    assert made.flatten().tolist() == [0, 1, -1, 2, 3, 4]
    both = [torch.full((1, 1, 1), value) for value in (-1.0, -2.0)]
    assert insert(tokens, both, places("double", 5)).flatten().tolist() == [-1, 0, 1, 2, 3, 4, -2]


@pytest.mark.parametrize("class_token", ["middle", "end", "double"])
def test_positions_of_another_length_are_interpolated_around_the_class_token(class_token) -> None:
    network = tiny(class_token=class_token)
    learned = network.pos_embed.shape[1] - len(places(class_token, 2))
    ramp = torch.linspace(0, 1, learned)[None, :, None].expand(1, -1, 16)
    mark = [torch.full((1, 1, 16), 9.0)] * len(places(class_token, learned))
    with torch.no_grad():
        network.pos_embed.copy_(insert(ramp, mark, places(class_token, learned)))
    moved = network.positions_for(3 * learned)[0, :, 0]
    where = list(places(class_token, 3 * learned))
    assert (moved[where] == 9.0).all()
    kept = moved[[row for row in range(len(moved)) if row not in where]]
    assert (kept.diff() >= 0).all()
    assert kept.max() <= 1


def test_pooling_without_a_class_token() -> None:
    x = torch.randn(2, 12, 96)
    assert tiny(class_token="none", pooling="all")(x).shape == (2, 12, 5)
    each = tiny(class_token="none", pooling="all")(x)
    torch.testing.assert_close(tiny(class_token="none", pooling="max")(x), each.amax(1))
    torch.testing.assert_close(tiny(class_token="none", pooling="mean")(x), each.mean(1))
    torch.testing.assert_close(tiny(class_token="none", pooling="last")(x), each[:, -1])


def test_both_directions_start_alike() -> None:
    mixer = tiny().layers[0].mixer
    for bias in (mixer.dt_proj.bias, mixer.dt_proj_b.bias):
        steps = torch.nn.functional.softplus(bias)
        assert 9e-5 < steps.min() < steps.max() < 0.11


def test_age_sex_and_absent_leads_matter_only_where_asked_for() -> None:
    x = torch.randn(2, 12, 96)
    about = torch.tensor([[70.0, 1.0], [float("nan"), float("nan")]])
    plain, told = tiny(), tiny(patient=True)
    torch.testing.assert_close(plain(x, about), plain(x))
    assert not torch.allclose(told(x, about)[0], told(x)[0])
    torch.testing.assert_close(told(x, about)[1], told(x)[1])
    aware = tiny(lead_presence=True)
    aware.leads.weight.data.mul_(100)
    silent = x.clone()
    silent[:, 3] = 0
    with torch.no_grad():
        aware.patch_embed.conv.weight[:, 3] = 0  # only the presence tells them apart
    assert not torch.allclose(aware(x), aware(silent))


def test_the_control_has_no_state_space_and_takes_any_length() -> None:
    control = tiny(depth=0, class_token="none", positions=False)
    assert not any("A_log" in name for name, _ in control.named_parameters())
    assert control(torch.randn(2, 12, 50)).shape == (2, 5)


def test_what_takes_no_decay_is_marked() -> None:
    free = {n for n, p in tiny().named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert {"cls_token", "pos_embed", "layers.0.mixer.A_log", "layers.1.mixer.D_b"} <= free


def test_wrong_inputs_are_told() -> None:
    with pytest.raises(BadArgumentError, match="12 leads"):
        tiny()(torch.randn(1, 8, 96))
    with pytest.raises(BadArgumentError, match="token at least"):
        ECGMamba(**PATCH)(torch.randn(1, 12, 5))
    with pytest.raises(BadArgumentError, match="must end at width"):
        tiny(stem_widths=[4, 8, 12])
    with pytest.raises(BadArgumentError, match="one entry"):
        tiny(stem_strides=[2, 2])


@pytest.mark.parametrize("options", [
    {}, {"norm": "layer"}, {"class_token": "double"}, {"class_token": "none"}, {"positions": False},
    {"mixer": {"name": "vim", "projection_bias": True, "conv_bias": False, "layer_scale": 0.5}},
    {"mixer": {"name": "vim_v1"}}, {"mixer": {"name": "mamba", "expand": 1, "conv_width": 3}},
])  # fmt: skip
def test_vim_keys_are_read_and_written(options) -> None:
    torch.manual_seed(0)
    network = ECGMamba(**PATCH | options).eval()
    hints = {"stride": 4}
    if network.layers[0].mixer.__class__.__name__ == "BidirectionalMamba":
        hints["mixer"] = {"merge": "sum"}
    again, report = load_official("ecg_mamba", to_official("ecg_mamba", network), **hints)
    assert not report.problems()
    for length in (96, 60):
        x = torch.randn(2, 12, length)
        torch.testing.assert_close(again(x), network(x))


def test_an_image_of_one_row_is_a_signal() -> None:
    network = ECGMamba(**PATCH).eval()
    state = to_official("ecg_mamba", network)
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"][:, :, None]
    again, _ = load_official("ecg_mamba", state, stride=4, mixer={"merge": "sum"})
    x = torch.randn(1, 12, 96)
    torch.testing.assert_close(again(x), network(x))
    state["patch_embed.proj.weight"] = torch.zeros(16, 3, 8, 8)
    with pytest.raises(BadDataError, match="not of an image"):
        load_official("ecg_mamba", state)


def test_the_merge_leaves_the_bias_of_the_projection_alone() -> None:
    from medssm.layers.mixers import build_mixer

    torch.manual_seed(0)
    mean = build_mixer({"name": "vim", "merge": "mean", "projection_bias": True}, 8, 1)
    both = build_mixer({"name": "vim", "merge": "sum", "projection_bias": True}, 8, 1)
    both.load_state_dict(mean.state_dict())
    x = torch.randn(2, 9, 8)
    bias = mean.out_proj.bias
    torch.testing.assert_close(2 * (mean(x) - bias), both(x) - bias)


def test_the_baseline_counts_a_hundred_and_one_layers() -> None:
    network = ECG_NETWORKS.build(name="xresnet1d101", out_channels=5).eval()
    trunk = [m for m in network.stages.modules() if isinstance(m, torch.nn.Conv1d)]
    # projections of shortcuts are not counted; one convolution in front and one linear layer are
    shortcuts = sum(len(list(block.shortcut.parameters())) > 0 for block in network.stages)
    assert len(trunk) - shortcuts + 2 == 101
    assert network(torch.randn(2, 12, 300)).shape == (2, 5)
