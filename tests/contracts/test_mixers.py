import pytest
import torch

from medssm.core.errors import UsageError
from medssm.layers.mixers import MIXERS, build_mixer
from tests.support.tiny import TINY_MIXERS

CHANNELS = 32
GRIDS = {1: (7,), 2: (6, 5), 3: (4, 3, 5)}
NAMES = sorted({MIXERS[name]: name for name in sorted(MIXERS)}.values())  # each class once


def tiny(name: str, spatial_dims: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_mixer({"name": name, **TINY_MIXERS.get(name, {})}, CHANNELS, spatial_dims)


def test_tiny_arguments_are_those_of_mixers() -> None:
    assert set(TINY_MIXERS) <= set(MIXERS)


@pytest.mark.parametrize("spatial_dims", GRIDS)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_shape_and_reaches_every_parameter(name: str, spatial_dims: int) -> None:
    mixer = tiny(name, spatial_dims)
    x = torch.randn(2, *GRIDS[spatial_dims], CHANNELS, requires_grad=True)
    y = mixer(x)
    assert y.shape == x.shape
    y.square().mean().backward()
    for key, parameter in mixer.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key
    assert x.grad is not None


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_meet(name: str) -> None:
    mixer = tiny(name)
    x = torch.randn(3, *GRIDS[3], CHANNELS)
    together = mixer(x)
    alone = torch.cat([mixer(each[None]) for each in x])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_causal_mixer_sees_no_later_token_and_the_others_do(name: str) -> None:
    mixer = tiny(name)
    x = torch.randn(1, *GRIDS[3], CHANNELS)
    changed = x.clone()
    changed[:, -1, -1, -1] += torch.randn(CHANNELS)  # a constant would vanish in a norm
    same = torch.isclose(mixer(x), mixer(changed), atol=1e-6).flatten(1, -2)[0, :-1].all()
    assert bool(same) == mixer.causal


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_near_float32(name: str) -> None:
    mixer = tiny(name)
    x = torch.randn(2, *GRIDS[3], CHANNELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = mixer(x)
    high = mixer(x)
    assert (low.float() - high).norm() < 0.05 * high.norm()


@pytest.mark.parametrize("name", NAMES)
def test_takes_a_view_that_is_not_contiguous(name: str) -> None:
    mixer = tiny(name)
    x = torch.randn(2, CHANNELS, *GRIDS[3]).movedim(1, -1)
    torch.testing.assert_close(mixer(x), mixer(x.contiguous()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_token_is_a_grid_too(name: str) -> None:
    y = tiny(name)(torch.randn(2, 1, 1, 1, CHANNELS))
    assert y.shape == (2, 1, 1, 1, CHANNELS)
    assert y.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_goes_round(name: str) -> None:
    first, second = tiny(name), tiny(name)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.5)
    x = torch.randn(1, *GRIDS[3], CHANNELS)
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_is_one_graph_with_a_free_batch(name: str) -> None:
    mixer = tiny(name, 2)
    batch = torch.export.Dim("batch", min=1, max=16)
    traced = torch.export.export(
        mixer,
        (torch.randn(2, *GRIDS[2], CHANNELS),),
        dynamic_shapes=({0: batch},),
        strict=True,  # through the tracer of torch.compile, which allows no break
    ).module()
    x = torch.randn(5, *GRIDS[2], CHANNELS)
    torch.testing.assert_close(traced(x), mixer(x), atol=1e-6, rtol=1e-5)


def test_a_wrong_mixer_argument_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'expand'"):
        build_mixer({"name": "mamba", "expnd": 2}, CHANNELS, 3)
    with pytest.raises(UsageError, match="mixer needs a name"):
        build_mixer({"state": 4}, CHANNELS, 3)
