"""The S4D convolution by FFT is its recurrence, in value and gradient."""

import math

import pytest
import torch

from medssm.ops.s4d import BLOCK, s4d_convolution, s4d_kernel
from medssm.ops.s4d.reference import s4d_recurrence, s4d_step


def _tensors(length=40, d=3, n=4, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    imag = math.pi * torch.arange(n, dtype=dtype).expand(d, n)
    return {
        "u": torch.randn((2, length, d), generator=g, dtype=dtype),
        "log_step": torch.rand(d, generator=g, dtype=dtype) * math.log(100) + math.log(1e-3),
        "A": torch.complex(torch.full((d, n), -0.5, dtype=dtype), imag),
        "C": torch.complex(*torch.randn((2, d, n), generator=g, dtype=dtype).unbind(0)),
        "D": torch.randn(d, generator=g, dtype=dtype),
        "C_back": torch.complex(*torch.randn((2, d, n), generator=g, dtype=dtype).unbind(0)),
    }


def _results(call, tensors):
    leaves = {name: x.clone().requires_grad_() for name, x in tensors.items()}
    y = call(**leaves)
    weight = torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view(y.shape)
    return y, *torch.autograd.grad((y * weight).sum(), list(leaves.values()))


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("length", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_values_and_gradients_are_those_of_the_recurrence(length, both):
    tensors = _tensors(length)
    if not both:
        del tensors["C_back"]
    ours, theirs = _results(s4d_convolution, tensors), _results(s4d_recurrence, tensors)
    for mine, true in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, true)


def test_single_precision_stays_near_double_precision_over_a_long_sequence():
    tensors = _tensors(5000, n=16)
    single = {
        n: x.to(torch.complex64 if x.is_complex() else torch.float32) for n, x in tensors.items()
    }
    true, found = s4d_convolution(**tensors), s4d_convolution(**single)
    assert float((found - true).abs().max()) < 1e-4 * float(true.abs().max())


def test_the_kernel_that_looks_ahead_starts_at_the_next_token():
    tensors = _tensors(9)
    behind, ahead = (
        s4d_kernel(tensors["log_step"], tensors["A"], tensors[name], 9) for name in ("C", "C_back")
    )
    y = tensors["D"] * tensors["u"]
    for t in range(9):
        for s in range(9):
            weight = behind[:, t - s] if s <= t else ahead[:, s - t - 1]
            y[:, t] += weight * tensors["u"][:, s]
    torch.testing.assert_close(s4d_convolution(**tensors), y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_computed_in_single_precision(dtype):
    tensors = _tensors(dtype=torch.float32)
    y = s4d_convolution(**(tensors | {"u": tensors["u"].to(dtype)}))
    true = s4d_convolution(**(tensors | {"u": tensors["u"].to(dtype).float()}))
    assert y.dtype == dtype
    assert torch.equal(y, true.to(dtype))


def test_autocast_changes_nothing():
    tensors = _tensors(dtype=torch.float32)
    true = s4d_convolution(**tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(s4d_convolution(**tensors), true)


def test_steps_give_the_convolution():
    tensors = _tensors()
    one_way = {name: x for name, x in tensors.items() if name != "C_back"}
    state, rows = torch.zeros(2, 3, 4, dtype=torch.complex128), []
    parameters = {name: one_way[name] for name in ("log_step", "A", "C", "D")}
    for token in tensors["u"].unbind(1):
        y, state = s4d_step(state, token, **parameters)
        rows.append(y)
    torch.testing.assert_close(torch.stack(rows, 1), s4d_convolution(**one_way))


def test_the_length_may_be_dynamic_in_an_exported_program():
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, x in _tensors(dtype=torch.float32).items():
                self.register_buffer(name, x)

        def forward(self, u):
            names = ("log_step", "A", "C", "D", "C_back")
            parts = dict(zip(names, map(self.get_buffer, names), strict=True))
            return s4d_convolution(u, **parts)

    layer, u = Layer(), torch.randn(2, 70, 3)
    length = torch.export.Dim("length", min=2, max=10_000)
    program = torch.export.export(layer, (u,), dynamic_shapes=({1: length},))
    longer = torch.randn(2, 203, 3)
    torch.testing.assert_close(program.module()(longer), layer(longer))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(u), layer(u))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"C": torch.zeros(3, 4)}, "complex"),
        ({"D": torch.zeros(4)}, "D has shape"),
        ({"u": torch.zeros(2, 4)}, "axes"),
    ],
)
def test_an_argument_that_does_not_fit_is_an_error(wrong, said):
    with pytest.raises(ValueError, match=said):
        s4d_convolution(**(_tensors() | wrong))
