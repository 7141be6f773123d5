"""The Triton scan in Triton's interpreter. Run by test_interpreter.py, with TRITON_INTERPRET=1."""

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.scan import selective_scan, triton_launch, triton_plan
from medssm.ops.scan.triton_operators import scan
from tests.support.scans import assert_near, orders, scan_tensors, values_and_gradients

TOLERANCE = 2e-6


def opposites(length):
    """A route, another, and the reverse of the first: one pair, one alone."""
    first, second = orders(2, length)
    return torch.stack((first, second, first.flip(0)))


@pytest.fixture
def in_chunks(monkeypatch):
    """Short tiles and chunks, and a device that wants many programs: the length is split."""
    monkeypatch.setattr(triton_plan, "TILE", 4)
    monkeypatch.setattr(triton_plan, "BACK", 2)
    monkeypatch.setattr(triton_plan, "SHORTEST", 4)
    monkeypatch.setattr(triton_plan, "WAVE", 1000)


def held(tensors, tolerance=TOLERANCE, **options):
    """Run in float32, hold values and gradients against the loop in float64; give ours."""
    narrow = {name: t.float() if t.dtype == torch.float64 else t for name, t in tensors.items()}
    ours = values_and_gradients("triton", narrow, **options)
    wide = {name: t.double() for name, t in narrow.items()}
    assert_near(ours, values_and_gradients("reference", wide, **options), tolerance)
    return ours


def test_one_route_over_batches():
    held(scan_tensors(b=2, k=1, length=5, d=3, n=2))


def test_opposite_routes_share_a_program_and_chunks_carry_their_states(in_chunks):
    held(scan_tensors(b=1, k=3, length=10, d=3, n=2), routes=opposites(10))


def test_routes_apart_with_inputs_apart(in_chunks):
    tensors = scan_tensors(b=1, k=2, length=9, d=3, n=2, shared=False)
    held(tensors, routes=orders(2, 9), merge="none")


def test_inputs_apart_with_outputs_summed():
    held(scan_tensors(b=1, k=2, length=4, d=2, n=1, shared=False), routes=orders(2, 4))


def test_steps_beyond_the_length_of_a_bag_are_skipped(in_chunks):
    tensors = scan_tensors(b=2, k=2, length=9, d=2, n=1)
    both = orders(1, 9)
    routes = torch.cat((both, both.flip(1)))
    held(tensors, routes=routes, lengths=torch.tensor([3, 9]))


def test_a_local_window_sees_its_later_steps(in_chunks):
    tensors = scan_tensors(b=1, k=2, length=9, d=2, n=2)
    held(tensors, routes=orders(2, 9), local_window=3)


def test_a_local_window_of_routes_apart_with_lengths(in_chunks):
    tensors = scan_tensors(b=2, k=1, length=10, d=2, n=1)
    held(tensors, local_window=2, lengths=torch.tensor([7, 10]), merge="none")


def test_what_is_optional_may_be_left_out():
    tensors = scan_tensors(b=1, k=1, length=5, d=3, n=2)
    for name in ("D", "delta_bias", "z", "initial_state"):
        del tensors[name]
    tensors["delta"] = tensors["delta"].abs()
    held(tensors, delta_softplus=False)


def test_offsets_of_large_tensors_have_64_bits(monkeypatch):
    monkeypatch.setattr(triton_launch, "NARROW", 0)
    held(scan_tensors(b=1, k=2, length=4, d=3, n=1), routes=orders(2, 4))


def test_one_program_may_take_all_blocks_of_channels(monkeypatch):
    monkeypatch.setattr(triton_plan, "WAVE", 0)
    held(scan_tensors(b=1, k=1, length=3, d=70, n=1))


def test_a_low_rank_step_is_multiplied_out():
    tensors = scan_tensors(b=1, k=1, length=4, d=3, n=2)
    g = torch.Generator().manual_seed(4)
    tensors["delta"] = torch.randn((1, 1, 4, 2), generator=g, dtype=torch.float64)
    tensors["delta_weight"] = torch.randn((1, 3, 2), generator=g, dtype=torch.float64)
    held(tensors)


def test_strides_do_not_matter():
    tensors = scan_tensors(b=1, k=1, length=4, d=3, n=2)
    tensors["u"] = tensors["u"].transpose(1, 2).contiguous().transpose(1, 2)
    tensors["B"] = torch.cat((tensors["B"], tensors["C"]), -1)[..., :2]
    held(tensors)


def test_extreme_steps_give_the_numbers_of_the_equations():
    tensors = scan_tensors(b=1, k=1, length=6, d=2, n=2)
    tensors["delta"][:, :, 0] = -100.0
    tensors["delta"][:, :, 1] = 100.0
    tensors["A"][..., 0] = -1e3
    tensors["A"][..., 1] = 0.0
    ours = held(tensors, tolerance=1e-5)
    assert all(value.isfinite().all() for value in ours.values())


def test_small_steps_keep_their_digits():
    tensors = scan_tensors(b=1, k=1, length=6, d=2, n=1)
    tensors["delta"] = tensors["delta"] - 12.0
    for name in ("D", "delta_bias", "initial_state"):
        del tensors[name]
    held(tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_keep_a_wide_state(dtype):
    tensors = scan_tensors(b=1, k=2, length=6, d=3, n=2)
    halves = ("u", "delta", "B", "C", "z")
    mixed = {name: t.to(dtype) if name in halves else t for name, t in tensors.items()}
    routes = orders(1, 6)
    ours = held(mixed, tolerance=2e-2, routes=torch.cat((routes, routes.flip(1))))
    assert ours["out"].dtype == dtype
    assert ours["u"].dtype == dtype
    assert ours["last"].dtype == torch.float32


def test_the_last_state_alone_has_gradients():
    tensors = scan_tensors(b=1, k=1, length=3, d=2, n=1, dtype=torch.float32)
    leaves = {name: t.clone().requires_grad_() for name, t in tensors.items()}
    found = []
    for backend in ("triton", "reference"):
        with prefer(backend):
            _, last = selective_scan(**leaves, return_last_state=True)
        found.append(torch.autograd.grad(last.sum(), (leaves["u"], leaves["initial_state"])))
    assert all(torch.allclose(ours, true, atol=1e-6) for ours, true in zip(*found, strict=True))


def test_two_runs_give_the_same_bits(in_chunks):
    tensors = scan_tensors(b=1, k=2, length=9, d=2, n=1, dtype=torch.float32)
    runs = [values_and_gradients("triton", tensors, routes=orders(2, 9)) for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_a_call_without_steps_gives_an_empty_result():
    tensors = scan_tensors(b=0, k=1, length=4, d=3, n=2, dtype=torch.float32)
    ours = values_and_gradients("triton", tensors)
    assert ours["out"].shape == (0, 4, 3)
    assert float(ours["A"].abs().sum()) == 0


def test_a_table_that_is_no_permutation_is_refused():
    tensors = scan_tensors(b=1, k=1, length=3, d=2, n=1, dtype=torch.float32)
    with prefer("triton"), pytest.raises(ValueError, match="exactly once"):
        selective_scan(**tensors, routes=torch.tensor([[0, 0, 2]]).int())


def test_float64_is_refused_in_words():
    with prefer("triton"), pytest.raises(RuntimeError, match="float64"):
        selective_scan(**scan_tensors(b=1, k=1, length=3, d=2, n=1))


def test_torch_accepts_the_operator():
    t = scan_tensors(b=1, k=2, length=3, d=2, n=1, dtype=torch.float32)
    t = {name: x.requires_grad_() for name, x in t.items()}
    names = ("u", "delta", "A", "B", "C", "D", "delta_bias", "z", "initial_state")
    first = [t[name][:, None] if name == "u" else t[name] for name in names]
    torch.library.opcheck(scan, (*first, None, None, True, True, 0, True))


def test_compile_sees_one_graph():
    tensors = scan_tensors(b=1, k=2, length=3, d=2, n=1, dtype=torch.float32)
    leaves = {name: x.requires_grad_() for name, x in tensors.items()}
    routes = orders(2, 3)

    def call(**given):
        return selective_scan(**given, routes=routes).square()

    found = []
    with prefer("triton"):
        for one in (call, torch.compile(call, fullgraph=True, backend="aot_eager")):
            out = one(**leaves)
            found.append((out, *torch.autograd.grad(out.sum(), list(leaves.values()))))
    assert all(torch.allclose(ours, true) for ours, true in zip(*found, strict=True))
