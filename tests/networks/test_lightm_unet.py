import pytest
import torch

from medssm.core.errors import BadArgumentError
from medssm.layers.mixers import MIXERS
from medssm.networks.cost import cost
from medssm.networks.lightm_unet import LightMUNet

TINY = {"init_filters": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1), "out_channels": 3}


def tiny(**options: object) -> LightMUNet:
    torch.manual_seed(0)
    return LightMUNet(**{**TINY, **options})


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "spatial_dims", "convolutions", "parameters"),
    [
        (3, 2, 2, "separable", 5_011_765),
        (1, 3, 3, "separable", 5_015_766),
        (3, 2, 2, "full", 5_375_991),
        (1, 2, 3, "full", 6_150_135),
    ],
)
def test_both_published_layouts_have_their_true_parameter_counts(
    in_channels: int, out_channels: int, spatial_dims: int, convolutions: str, parameters: int
) -> None:
    network = LightMUNet(spatial_dims, in_channels, out_channels, convolutions=convolutions)
    assert sum(each.numel() for each in network.parameters()) == parameters


def test_the_measured_operation_counts_of_the_published_size() -> None:
    counted = cost(LightMUNet(out_channels=3), (1, 1, 64, 64, 64))
    assert counted.macs / 1e9 == pytest.approx(19.32, rel=2e-3)
    assert counted.scan_flops / 1e9 == pytest.approx(11.48, rel=2e-3)


@pytest.mark.parametrize("mixer", sorted(MIXERS))
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_mixer_fits(mixer: str, spatial_dims: int) -> None:
    network = tiny(spatial_dims=spatial_dims, mixer={"name": mixer}, init_filters=32)
    size = (8, 12, 8)[:spatial_dims]
    assert network(torch.randn(1, 1, *size)).shape == (1, 3, *size)


def test_the_twin_without_state_space_scans_nothing() -> None:
    assert cost(tiny(), (1, 1, 8, 8, 8)).scan_flops > 0
    assert cost(tiny(mixer={"name": "none"}), (1, 1, 8, 8, 8)).scan_flops == 0


def test_levels_above_the_first_scanning_one_do_not_scan() -> None:
    scans = [
        cost(tiny(scan_from_level=level), (1, 1, 8, 8, 8)).scan_flops for level in (0, 1, 2, 3)
    ]
    assert scans[0] > scans[1] > scans[2] > scans[3] == 0


@pytest.mark.parametrize("convolutions", ["separable", "full"])
@pytest.mark.parametrize("norm", ["group", "instance"])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_options_go_together(convolutions: str, norm: str, stem_stride: int) -> None:
    network = tiny(
        convolutions=convolutions, norm=norm, stem_stride=stem_stride, deep_supervision=True
    )
    x = torch.randn(1, 1, 16, 24, 16)
    shapes = [tuple(each.shape[2:]) for each in network.train()(x)]
    coarse = (8, 12, 8) if stem_stride == 1 else (4, 6, 4)
    assert shapes == [(16, 24, 16), coarse]
    assert network.eval()(x).shape == (1, 3, 16, 24, 16)


def test_padding_inside_changes_nothing_where_sizes_fit_and_crops_where_not() -> None:
    plain, padded = tiny().eval(), tiny(pad=True).eval()
    x = torch.randn(1, 1, 8, 12, 8)
    assert torch.equal(plain(x), padded(x))
    odd = torch.randn(1, 1, 7, 12, 9)
    assert padded(odd).shape == (1, 3, 7, 12, 9)


def test_dropout_acts_while_training_only() -> None:
    network = tiny(dropout=0.5)
    x = torch.randn(1, 1, 8, 8, 8)
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"init_filters": 12}, "multiples of 8"),
        ({"blocks_up": (1, 1, 1)}, "one entry fewer"),
        ({"scan_from_level": 4}, "scan_from_level"),
        ({"stem_stride": 3}, "stem_stride"),
        ({"spatial_dims": 4}, "spatial_dims"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(options: dict, says: str) -> None:
    with pytest.raises(BadArgumentError, match=says):
        tiny(**options)


def test_decay_and_skip_of_every_scan_ask_for_no_weight_decay() -> None:
    marked = {
        key.rsplit(".", 1)[-1]
        for key, each in tiny().named_parameters()
        if getattr(each, "_no_weight_decay", False)
    }
    assert marked == {"A_log", "D"}


def test_the_scan_starts_with_the_published_step_sizes() -> None:
    network = tiny(init_filters=32)
    for key, bias in network.named_parameters():
        if key.endswith("dt_proj.bias"):
            steps = torch.nn.functional.softplus(bias)
            assert steps.min() >= 0.9e-3
            assert steps.max() <= 0.11
