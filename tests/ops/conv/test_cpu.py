"""The native convolution on CPU: values and gradients of the reference along any routes."""

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.conv import causal_conv1d, cpu
from medssm.ops.native.library import CHUNK
from medssm.ops.native.variants import instruction_set, supported
from tests.support.scans import orders

pytestmark = pytest.mark.skipif(cpu.missing() is not None, reason=str(cpu.missing()))


def _leaves(length=40, d=17, k=2, taps=4, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()

    return {"x": normal(2, length, d), "weight": normal(k, d, taps), "bias": normal(k, d)}


def _all(backend, leaves, **options):
    with prefer(backend):
        out = causal_conv1d(**leaves, **options)
    weight = torch.linspace(0.5, 1.5, out.numel(), dtype=torch.float64).view(out.shape)
    gradients = torch.autograd.grad((out.double() * weight).sum(), list(leaves.values()))
    return {"out": out, **dict(zip(leaves, gradients, strict=True))}


def _near(ours, true, tolerance):
    for name, each in true.items():
        worst = float((ours[name].double() - each.double()).detach().abs().max())
        assert worst <= tolerance * float(each.detach().abs().max()), name


@pytest.mark.parametrize("length", [1, 3, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, 600])
@pytest.mark.parametrize("routed", [True, False])
@pytest.mark.parametrize("activation", ["silu", None])
def test_any_length_gives_the_values_and_gradients_of_the_reference(length, routed, activation):
    leaves = _leaves(length)
    options = {"routes": orders(2, length) if routed else None, "activation": activation}
    _near(_all("cpu", leaves, **options), _all("reference", leaves, **options), 1e-12)


@pytest.mark.parametrize("variant", [each.name for each in supported()])
@pytest.mark.parametrize("taps", [1, 2, 4, 8])
@pytest.mark.parametrize("d", [1, 16, 33])
def test_any_taps_and_channels_do_in_every_instruction_set(variant, taps, d):
    single = _leaves(d=d, taps=taps, dtype=torch.float32)
    wide = {n: t.detach().double().requires_grad_() for n, t in single.items()}
    with instruction_set(variant):
        if cpu.missing() is not None:
            pytest.skip(str(cpu.missing()))
        _near(_all("cpu", single), _all("reference", wide), 2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_once(dtype):
    leaves = _leaves()
    half = leaves | {"x": leaves["x"].detach().to(dtype).requires_grad_()}
    wide = half | {"x": half["x"].detach().double().requires_grad_()}
    ours = _all("cpu", half)
    assert ours["out"].dtype == ours["x"].dtype == dtype
    _near(ours, _all("reference", wide), 2 * torch.finfo(dtype).eps)


def test_memory_of_any_strides_gives_the_same():
    leaves = _leaves()
    x = leaves["x"].detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    _near(_all("cpu", leaves | {"x": x}), _all("cpu", leaves), 1e-12)


@pytest.mark.parametrize("shape", [(0, 9, 5), (2, 0, 5)])
def test_nothing_gives_nothing(shape):
    leaves = _leaves(d=5) | {"x": torch.zeros(shape, dtype=torch.float64, requires_grad=True)}
    results = _all("cpu", leaves)
    assert results["out"].shape == (shape[0], 2, *shape[1:])
    assert (results["weight"] == 0).all()


def test_a_weight_of_more_taps_is_refused_in_words():
    with prefer("cpu"), pytest.raises(RuntimeError, match="taps"):
        causal_conv1d(**_leaves(taps=9))


def test_gradcheck_passes():
    leaves = _leaves(length=5, d=3)

    def call(*values):
        with prefer("cpu"):
            return causal_conv1d(*values, routes=orders(2, 5))

    assert torch.autograd.gradcheck(call, list(leaves.values()))


def test_the_operator_keeps_the_rules_of_torch_library():
    leaves = _leaves(length=9, dtype=torch.float32)
    torch.library.opcheck(cpu.conv, (*leaves.values(), orders(2, 9), True))
