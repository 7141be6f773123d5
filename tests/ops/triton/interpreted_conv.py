"""The Triton convolution in Triton's interpreter. Run by test_interpreter.py."""

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.conv import causal_conv1d
from medssm.ops.conv.triton_backend import conv
from tests.support.scans import assert_near, orders


def values_and_gradients(backend, dtype, shape, taps, routes, bias=True, activation="silu"):
    b, length, d, k = shape
    g = torch.Generator().manual_seed(0)
    shapes = {"x": (b, length, d), "weight": (k, d, taps), "bias": (k, d)}
    leaves = {
        name: torch.randn(size, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
        for name, size in shapes.items()
        if bias or name != "bias"
    }
    with prefer(backend):
        out = causal_conv1d(
            leaves["x"], leaves["weight"], leaves.get("bias"), routes=routes, activation=activation
        )
    weight = torch.linspace(0.5, 1.5, out.numel(), dtype=torch.float64).view(out.shape)
    gradients = torch.autograd.grad((out.double() * weight).sum(), list(leaves.values()))
    return {"out": out, **dict(zip(leaves, gradients, strict=True))}


@pytest.mark.parametrize(
    ("shape", "taps", "routed", "options"),
    [
        ((2, 45, 5, 1), 4, False, {}),
        ((1, 70, 40, 3), 3, True, {}),
        ((1, 7, 3, 2), 2, True, {"bias": False, "activation": None}),
        ((1, 33, 4, 2), 8, True, {}),
        ((1, 1, 1, 1), 4, False, {}),
    ],
)
def test_values_and_gradients_are_those_of_shifted_products(shape, taps, routed, options):
    routes = orders(shape[3], shape[1]) if routed else None
    ours = values_and_gradients("triton", torch.float32, shape, taps, routes, **options)
    true = values_and_gradients("reference", torch.float64, shape, taps, routes, **options)
    assert_near(ours, true, 2e-6)


def test_half_input_gives_half_output():
    ours = values_and_gradients("triton", torch.bfloat16, (1, 9, 5, 2), 4, orders(2, 9))
    true = values_and_gradients("reference", torch.bfloat16, (1, 9, 5, 2), 4, orders(2, 9))
    assert ours["out"].dtype == torch.bfloat16
    assert_near(ours, true, 1e-2)


def test_torch_accepts_the_operator():
    g = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(size, generator=g).requires_grad_() for size in ((1, 5, 3), (2, 3, 2), (2, 3))
    )
    torch.library.opcheck(conv, (x, weight, bias, orders(2, 5), True))


def test_nine_taps_are_refused_in_words():
    with prefer("triton"), pytest.raises(RuntimeError, match="8 taps"):
        causal_conv1d(torch.zeros(1, 4, 2), torch.zeros(1, 2, 9), None)
