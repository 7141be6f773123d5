"""Every backend of the scan gives the values and gradients of the equations."""

import math

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.conv import causal_conv1d
from medssm.ops.scan import selective_scan
from tests.support.scans import scan_tensors

BACKENDS = ("cpu", "chunked", "reference")
NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias", "z", "initial_state")


def _oracle(u, delta, A, B, C, D, delta_bias, z, initial_state, routes=None):
    """The equations, step by step, in the type that comes in."""
    b, k, length, d = delta.shape
    u = u[:, None].expand(b, k, length, d) if u.dim() == 3 else u
    out = torch.zeros(b, length, d, dtype=u.dtype)
    last = []
    for r in range(k):
        h = initial_state[:, r]
        order = range(length) if routes is None else routes[r].tolist()
        rows = [None] * length
        for p in order:
            s = torch.nn.functional.softplus(delta[:, r, p] + delta_bias[r])
            h = torch.exp(s[..., None] * A[r]) * h + (s * u[:, r, p])[..., None] * B[:, r, p, None]
            rows[p] = (h * C[:, r, p, None]).sum(-1) + D[r] * u[:, r, p]
        out = out + torch.stack(rows, 1)
        last.append(h)
    return out * torch.nn.functional.silu(z), torch.stack(last, 1)


def _gradients(loss, leaves):
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def _run(backend, tensors, routes=None):
    leaves = {name: t.detach().clone().requires_grad_() for name, t in tensors.items()}
    with prefer(backend):
        out, last = selective_scan(**leaves, routes=routes, return_last_state=True)
    weight = torch.linspace(0.5, 1.5, out.numel(), dtype=torch.float64).view(out.shape)
    loss = (out.double() * weight).sum() + last.double().square().sum()
    return (
        out,
        last,
        dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)),
    )


def _truth(tensors, routes=None):
    leaves = {n: t.detach().double().clone().requires_grad_() for n, t in tensors.items()}
    out, last = _oracle(**leaves, routes=routes)
    weight = torch.linspace(0.5, 1.5, out.numel(), dtype=torch.float64).view(out.shape)
    loss = (out * weight).sum() + last.square().sum()
    return (
        out,
        last,
        dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)),
    )


def _close(ours, theirs, tolerance):
    scale = float(theirs.detach().abs().max()) or 1.0
    assert float((ours.double() - theirs).detach().abs().max()) <= tolerance * scale


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", [1, 31, 63, 100])
def test_values_and_gradients_are_those_of_the_equations(backend, length):
    tensors = scan_tensors(length=length, dtype=torch.float32)
    out, last, gradients = _run(backend, tensors)
    true_out, true_last, true_gradients = _truth(tensors)
    _close(out, true_out, 2e-6)
    _close(last, true_last, 2e-6)
    for name in NAMES:
        _close(gradients[name], true_gradients[name], 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("d", "n"), [(1, 1), (15, 2), (16, 3), (17, 8), (33, 16), (4, 17)])
def test_any_number_of_channels_and_states_works(backend, d, n):
    tensors = scan_tensors(d=d, n=n, length=20, dtype=torch.float32)
    out, _, gradients = _run(backend, tensors)
    true_out, _, true_gradients = _truth(tensors)
    _close(out, true_out, 2e-6)
    for name in ("u", "delta", "B", "C", "A"):
        _close(gradients[name], true_gradients[name], 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_routes_visit_memory_in_their_order(backend):
    tensors = scan_tensors(length=12, dtype=torch.float32)
    g = torch.Generator().manual_seed(3)
    routes = torch.stack([torch.randperm(12, generator=g) for _ in range(2)]).int()
    out, _, gradients = _run(backend, tensors, routes)
    true_out, _, true_gradients = _truth(tensors, routes)
    _close(out, true_out, 2e-6)
    _close(gradients["u"], true_gradients["u"], 1e-5)
    _close(gradients["delta"], true_gradients["delta"], 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_extreme_steps_give_numbers(backend):
    tensors = scan_tensors(length=8, dtype=torch.float32)
    tensors["delta"][:, :, 0] = -100.0
    tensors["delta"][:, :, 1] = 100.0
    tensors["A"][:] = -1e3
    out, last, gradients = _run(backend, tensors)
    assert out.isfinite().all()
    assert last.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_keep_a_wide_state(dtype):
    tensors = scan_tensors(length=64, dtype=torch.float32)
    half = {n: t.to(dtype) if n in ("u", "delta", "B", "C", "z") else t for n, t in tensors.items()}
    with prefer("cpu"):
        out = selective_scan(**half)
    truth, _ = _oracle(**{n: t.double() for n, t in half.items()})
    assert out.dtype == dtype
    _close(out.float(), truth, 1e-2)


def test_gradcheck_passes_in_double_precision():
    tensors = scan_tensors(b=1, k=2, length=5, d=3, n=2)
    leaves = [tensors[name].requires_grad_() for name in NAMES]

    def call(*values):
        with prefer("cpu"):
            return selective_scan(**dict(zip(NAMES, values, strict=True)))

    assert torch.autograd.gradcheck(call, leaves, atol=1e-7)


def test_memory_that_is_not_contiguous_gives_the_same():
    tensors = scan_tensors(length=33, dtype=torch.float32)
    strided = {n: t.transpose(-1, -2).contiguous().transpose(-1, -2) for n, t in tensors.items()}
    with prefer("cpu"):
        assert torch.allclose(selective_scan(**strided), selective_scan(**tensors), atol=1e-5)


def test_the_number_of_threads_does_not_change_the_result():
    tensors = scan_tensors(b=1, length=300, d=24, dtype=torch.float32)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        with prefer("cpu"):
            results.append(selective_scan(**tensors))
    torch.set_num_threads(before)
    assert torch.allclose(results[0], results[1], atol=1e-5)


def test_a_wish_that_cannot_be_met_says_why():
    with pytest.raises(Exception, match="cpu"), prefer("no_such_backend"):
        selective_scan(**scan_tensors(dtype=torch.float32))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("length", [1, 3, 63])
def test_the_causal_convolution_is_a_padded_convolution(backend, length):
    g = torch.Generator().manual_seed(0)
    x = torch.randn((2, length, 19), generator=g).requires_grad_()
    weight = torch.randn((1, 19, 4), generator=g).requires_grad_()
    bias = torch.randn((1, 19), generator=g).requires_grad_()
    with prefer(backend):
        out = causal_conv1d(x, weight, bias)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (3, 0))
    truth = torch.nn.functional.conv1d(padded, weight[0][:, None], bias[0], groups=19)
    truth = torch.nn.functional.silu(truth).transpose(1, 2)[:, None]
    assert torch.allclose(out, truth, atol=1e-5)
    ours = torch.autograd.grad(out.square().sum(), (x, weight, bias))
    theirs = torch.autograd.grad(truth.square().sum(), (x, weight, bias))
    for mine, true in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, true, atol=1e-4 * math.sqrt(length), rtol=1e-4)
