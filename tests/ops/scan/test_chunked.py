"""The chunked scan: values and gradients of the reference, whatever is asked for."""

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.scan import selective_scan
from medssm.ops.scan.walk import CHUNK
from tests.support.scans import assert_near, orders, scan_tensors, values_and_gradients


@pytest.mark.parametrize("length", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
@pytest.mark.parametrize("shared", [True, False])
def test_chunks_give_the_values_and_gradients_of_the_reference(length, shared):
    tensors = scan_tensors(length=length, shared=shared, d=3, n=2)
    options = {"routes": orders(2, length)}
    assert_near(
        values_and_gradients("chunked", tensors, **options),
        values_and_gradients("reference", tensors, **options),
        1e-12,
    )


@pytest.mark.parametrize("window", [0, 1, 5, 16, 100])
@pytest.mark.parametrize("lengths", [None, (150, 70)])
@pytest.mark.parametrize("routed", [True, False])
def test_windows_and_lengths_give_the_values_and_gradients_of_the_reference(
    window, lengths, routed
):
    tensors = scan_tensors(length=150, d=3, n=2)
    options = {
        "routes": orders(2, 150) if routed else None,
        "lengths": None if lengths is None else torch.tensor(lengths),
        "local_window": window,
    }
    assert_near(
        values_and_gradients("chunked", tensors, **options),
        values_and_gradients("reference", tensors, **options),
        1e-12,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_once(dtype):
    tensors = scan_tensors(length=70)
    along = ("u", "delta", "B", "C", "z")
    half = {n: t.to(dtype) if n in along else t.float() for n, t in tensors.items()}
    out = values_and_gradients("chunked", half)
    true = values_and_gradients("reference", {n: t.double() for n, t in half.items()})
    assert out["out"].dtype == out["u"].dtype == dtype
    assert out["last"].dtype == torch.float32
    assert_near(out, true, 2 * torch.finfo(dtype).eps)


def test_a_low_rank_step_is_multiplied_out_within_a_chunk():
    tensors = scan_tensors(length=70)
    g = torch.Generator().manual_seed(1)
    weight = torch.randn((2, 5, 3), generator=g, dtype=torch.float64)
    tensors |= {"delta": tensors["delta"][..., :3], "delta_weight": weight}
    assert_near(
        values_and_gradients("chunked", tensors), values_and_gradients("reference", tensors), 1e-12
    )


@pytest.mark.parametrize(("b", "length"), [(0, 9), (2, 0)])
def test_nothing_gives_nothing(b, length):
    tensors = scan_tensors(b=b, length=length)
    results = values_and_gradients("chunked", tensors)
    assert results["out"].shape == (b, length, 5)
    assert_near(results, values_and_gradients("reference", tensors), 1e-12)


def test_the_gate_is_the_same_without_gradients():
    tensors = scan_tensors(length=70)
    with prefer("chunked"):
        plain = selective_scan(**tensors)
    assert_near({"out": plain}, {"out": values_and_gradients("reference", tensors)["out"]}, 1e-12)


def test_the_backward_may_run_without_an_output():
    tensors = scan_tensors()
    leaf = tensors["u"].requires_grad_()
    with prefer("chunked"):
        _, last = selective_scan(**tensors, return_last_state=True)
    assert torch.autograd.grad(last.sum(), leaf)[0].abs().sum() > 0


def test_gradcheck_passes_in_double_precision():
    tensors = scan_tensors(b=1, length=5, d=3, n=2)
    leaves = [tensor.requires_grad_() for tensor in tensors.values()]

    def call(*values):
        with prefer("chunked"):
            return selective_scan(**dict(zip(tensors, values, strict=True)), local_window=2)

    assert torch.autograd.gradcheck(call, leaves)
