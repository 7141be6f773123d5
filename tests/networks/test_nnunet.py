import numpy as np
import pytest
import torch

from medssm.core.errors import BadArgumentError, UsageError
from medssm.layers.linear import TokenLinear
from medssm.networks import NETWORKS
from medssm.networks.nnunet import PlansNetwork, supervision_strides
from tests.support.tiny import TINY_NETWORKS

DEEP = {"blocks_down": [1, 1, 1, 1], "blocks_up": [1, 1, 1], "deep_supervision": True}
LIGHT = {"name": "lightm_unet", "init_filters": 8}
ONCE = [[1, 1]] * 3


def build(network, dims=2, channels=2, classes=3, **wishes):
    sizes = {"spatial_dims": dims, "in_channels": channels, "out_channels": classes}
    strides = supervision_strides(NETWORKS.build(**{**network, **sizes}), dims, channels)
    return PlansNetwork(channels, classes, network, strides, **wishes), strides


def image(made, channels=2, batch=2):
    return torch.randn(batch, channels, *(2 * each for each in made.network.divisors))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", sorted(TINY_NETWORKS))
def test_outputs_have_the_scales_that_nnunet_computes_from_the_strides(name, dims) -> None:
    network = {"name": name, **TINY_NETWORKS[name]}
    if name == "lightm_unet":
        network |= DEEP
    made, strides = build(network, dims, deep_supervision=True)
    x = image(made)
    # as the trainer computes its scales
    scales = (1 / np.cumprod(np.vstack(strides), axis=0))[:-1]
    expected = [tuple(np.round(np.array(x.shape[2:]) * scale).astype(int)) for scale in scales]
    for mode in (True, False):
        with torch.no_grad():
            outputs = made.train(mode)(x)
        assert [tuple(each.shape[2:]) for each in outputs] == expected
        assert {each.shape[1] for each in outputs} == {3}
    made.decoder.deep_supervision = False
    assert made.train()(x).shape == (2, 3, *x.shape[2:])


def test_the_last_output_which_nnunet_gives_no_weight_is_a_repetition() -> None:
    made, _ = build({**LIGHT, **DEEP}, deep_supervision=True)
    outputs = made(image(made))
    assert len(outputs) == 4
    assert outputs[-1] is outputs[-2]
    # so that every head learns from what has a weight
    sum(each.square().mean() for each in outputs[:-1]).backward()
    assert all(each.grad is not None for each in made.parameters())


def test_the_switch_leaves_dropout_and_paths_in_their_mode() -> None:
    made, _ = build({**LIGHT, **DEEP, "dropout": 0.5}, deep_supervision=True)
    made.eval()
    x = image(made)
    assert not made.network.dropout.training
    assert torch.equal(made(x)[0], made(x)[0])
    made.decoder.deep_supervision = False
    made.train()
    assert made.network.dropout.training
    assert torch.is_tensor(made(x))


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("auto", torch.bfloat16), ("bf16-mixed", torch.bfloat16), ("32-true", torch.float32),
     ("16-mixed", torch.float16)],
)  # fmt: skip
def test_float16_is_computed_in_a_format_of_greater_range(precision, expected) -> None:
    made, _ = build(LIGHT, precision=precision)
    seen = set()
    head = made.network.head.classes
    assert isinstance(head, TokenLinear)
    head.register_forward_hook(lambda _m, _i, answer: seen.add(answer.dtype))
    with torch.autocast("cpu", dtype=torch.float16), torch.no_grad():
        answer = made(image(made))
    assert seen == {expected}
    assert answer.dtype == torch.float32


def test_a_compiled_network_follows_the_switch() -> None:
    made, _ = build({**LIGHT, **DEEP}, deep_supervision=True)
    compiled = torch.compile(made, backend="eager")
    x = image(made)
    with torch.no_grad():
        assert len(compiled(x)) == 4
        made.decoder.deep_supervision = False
        assert torch.allclose(compiled(x), made(x))


def test_planners_see_more_elements_in_a_larger_patch() -> None:
    made, _ = build(LIGHT)
    small, large = (made.compute_conv_feature_map_size(size) for size in ((32, 32), (64, 64)))
    assert 3 < large / small < 5


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadArgumentError, match="three rows or more"):
        PlansNetwork(1, 2, LIGHT, [[1, 1]])
    with pytest.raises(UsageError, match="did you mean 'lightm_unet'"):
        PlansNetwork(1, 2, {"name": "lightm_une"}, ONCE)
    with pytest.raises(UsageError, match="no argument 'init_filter'"):
        PlansNetwork(1, 2, {"name": "lightm_unet", "init_filter": 8}, ONCE)
    made = PlansNetwork(2, 3, {**LIGHT, **DEEP}, ONCE, deep_supervision=True)
    with pytest.raises(BadArgumentError, match="export the plans again"):
        made(image(made))
