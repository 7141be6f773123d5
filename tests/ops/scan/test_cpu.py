"""The native scan on CPU: values and gradients of the reference for everything it may be asked."""

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.native.library import CHUNK
from medssm.ops.native.variants import instruction_set, supported
from medssm.ops.routes import axes3d, cross2d, from_permutation, reverse
from medssm.ops.scan import cpu, selective_scan
from tests.support.scans import assert_near, orders, scan_tensors, values_and_gradients

pytestmark = pytest.mark.skipif(cpu.missing() is not None, reason=str(cpu.missing()))
WIDE, NARROW = 1e-12, 2e-6  # of float64 and float32, relative to the maximum


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def _check(tensors, narrow=NARROW, **options):
    """Against the reference: float64 exactly, float32 within its rounding."""
    true = values_and_gradients("reference", tensors, **options)
    assert_near(values_and_gradients("cpu", tensors, **options), true, WIDE)
    single = {name: tensor.float() for name, tensor in tensors.items()}
    rounded = {name: tensor.double() for name, tensor in single.items()}
    true = values_and_gradients("reference", rounded, **options)
    assert_near(values_and_gradients("cpu", single, **options), true, narrow)


@pytest.mark.parametrize("length", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
@pytest.mark.parametrize("shared", [True, False])
def test_any_length_gives_the_values_and_gradients_of_the_reference(length, shared):
    tensors = scan_tensors(length=length, shared=shared, d=17, n=3)
    _check(tensors, routes=orders(2, length))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 16, 17, 64])
@pytest.mark.parametrize("d", [1, 15, 16, 17])
def test_any_number_of_states_and_channels_does(n, d):
    _check(scan_tensors(length=37, d=d, n=n))


@pytest.mark.parametrize("window", [0, 1, 2, 5, 8, 16, 32])
@pytest.mark.parametrize("lengths", [None, (150, 70), (0, 33), (64, 149)])
@pytest.mark.parametrize("routed", [True, False])
def test_windows_and_lengths_give_the_values_and_gradients_of_the_reference(
    window, lengths, routed
):
    tensors = scan_tensors(length=150, d=3, n=2)
    _check(
        tensors,
        routes=orders(2, 150) if routed else None,
        lengths=None if lengths is None else torch.tensor(lengths),
        local_window=window,
    )


@pytest.mark.parametrize("threads", [4], indirect=True)
@pytest.mark.parametrize("options", [{}, {"local_window": 4}, {"lengths": torch.tensor([400])}])
@pytest.mark.parametrize("n", [2, 17])
def test_a_length_split_among_threads_gives_the_same(threads, options, n):
    # the gradient of the bias is a sum of 600 numbers that nearly cancel
    _check(scan_tensors(b=1, length=600, d=3, n=n), narrow=2 * NARROW, **options)


@pytest.mark.parametrize("rank", [1, 3, 16])
@pytest.mark.parametrize("options", [{}, {"local_window": 8, "lengths": torch.tensor([70, 40])}])
def test_a_low_rank_step_is_multiplied_out_inside(rank, options):
    tensors = scan_tensors(length=70, d=19)
    g = torch.Generator().manual_seed(1)
    weight = torch.randn((2, 19, rank), generator=g, dtype=torch.float64) / rank
    low = torch.randn((2, 2, 70, rank), generator=g, dtype=torch.float64)
    _check(tensors | {"delta": low, "delta_weight": weight}, **options)


@pytest.mark.parametrize("merge", ["sum", "none"])
@pytest.mark.parametrize("without", [("z",), ("D", "delta_bias"), ("z", "initial_state"), ()])
@pytest.mark.parametrize("softplus", [True, False])
def test_what_may_be_left_out_may_be_left_out(merge, without, softplus):
    tensors = {n: t for n, t in scan_tensors(length=40).items() if n not in without}
    if not softplus:
        tensors["delta"] = tensors["delta"].abs() * 0.3
    _check(tensors, merge=merge, delta_softplus=softplus)


def test_a_window_longer_than_a_tile_is_refused_in_words():
    with prefer("cpu"), pytest.raises(RuntimeError, match="local window"):
        selective_scan(**scan_tensors(), local_window=CHUNK + 1)


@pytest.mark.parametrize("variant", [each.name for each in supported()])
@pytest.mark.parametrize("options", [{}, {"local_window": 5, "lengths": torch.tensor([70, 41])}])
@pytest.mark.parametrize("n", [1, 16])
def test_every_instruction_set_gives_the_same(variant, options, n):
    with instruction_set(variant):
        if cpu.missing() is not None:
            pytest.skip(str(cpu.missing()))
        _check(scan_tensors(length=70, d=21, n=n), routes=orders(2, 70), **options)


@pytest.mark.parametrize("variant", [each.name for each in supported()])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("d", [16, 21])
def test_half_types_are_rounded_once(variant, dtype, d):
    tensors = scan_tensors(length=70, d=d)
    along = ("u", "delta", "B", "C", "z")
    half = {n: t.to(dtype) if n in along else t.float() for n, t in tensors.items()}
    with instruction_set(variant):
        if cpu.missing() is not None:
            pytest.skip(str(cpu.missing()))
        out = values_and_gradients("cpu", half)
    true = values_and_gradients("reference", {n: t.double() for n, t in half.items()})
    assert out["out"].dtype == out["u"].dtype == dtype
    assert out["last"].dtype == torch.float32
    assert_near(out, true, 2 * torch.finfo(dtype).eps)


# ---- routes ------------------------------------------------------------------------------------
def _scan(tensors, **options):
    with prefer("cpu"):
        return selective_scan(**tensors, **options)


def test_the_identity_table_equals_no_table():
    tensors = scan_tensors(length=40, dtype=torch.float32)
    identity = torch.arange(40, dtype=torch.int32).expand(2, -1)
    assert torch.equal(_scan(tensors, routes=identity), _scan(tensors))


def _moved(tensors, order):
    """The same call over tokens that were permuted beforehand, in one route."""
    along = {"u": 1, "delta": 2, "B": 2, "C": 2, "z": 1}
    return {n: t.index_select(along[n], order) if n in along else t for n, t in tensors.items()}


def test_the_reverse_route_equals_flips():
    tensors = scan_tensors(k=1, length=40, dtype=torch.float32)
    flipped = _scan(_moved(tensors, torch.arange(39, -1, -1))).flip(1)
    assert torch.equal(_scan(tensors, routes=reverse(40)), flipped)


@pytest.mark.parametrize("make", [lambda: cross2d(5, 8), lambda: axes3d(2, 4, 5)])
def test_grid_routes_equal_explicit_permutations(make):
    routes = make()
    k = len(routes)
    tensors = scan_tensors(k=k, length=40, dtype=torch.float64)
    apart = _scan(tensors, routes=routes, merge="none")
    total = 0.0
    for r in range(k):
        order = routes.table[r].long()
        per_route = ("delta", "A", "B", "C", "D", "delta_bias", "initial_state")
        one = {
            n: (t[r : r + 1] if n in {"A", "D", "delta_bias"} else t[:, r : r + 1])
            if n in per_route
            else t
            for n, t in tensors.items()
        }
        alone = _scan(_moved(one, order))[:, order.argsort()]
        assert torch.allclose(apart[:, r], alone, rtol=1e-12, atol=1e-12)
        total = total + alone
    assert torch.allclose(_scan(tensors, routes=routes), total, rtol=1e-12, atol=1e-12)


def test_a_table_that_visits_a_position_twice_is_an_error():
    table = torch.zeros((2, 9), dtype=torch.int32)
    with prefer("cpu"), pytest.raises(ValueError, match="once"):
        selective_scan(**scan_tensors(), routes=table)


def test_one_table_serves_two_calls():
    tensors, routes = scan_tensors(k=1), from_permutation(torch.randperm(9))
    assert torch.equal(_scan(tensors, routes=routes), _scan(tensors, routes=routes))


# ---- strides, sizes, extremes --------------------------------------------------------------------
def test_memory_of_any_strides_gives_the_same():
    tensors = scan_tensors(length=40, d=17, dtype=torch.float32)
    true = values_and_gradients("cpu", tensors)
    channels_first = {n: t.transpose(-1, -2).contiguous().transpose(-1, -2)
                      for n, t in tensors.items()}  # fmt: skip
    wide = {n: torch.stack((t, t), -1)[..., 0] for n, t in tensors.items()}
    for strided in (channels_first, wide):
        leaves = {n: t.detach().requires_grad_() for n, t in strided.items()}
        with prefer("cpu"):
            out = selective_scan(**leaves)
        assert torch.allclose(out, true["out"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["u", "delta", "B", "C", "z"])
def test_expanded_memory_gives_the_same(name):
    tensors = scan_tensors(length=40, dtype=torch.float32)
    expanded = tensors | {name: tensors[name][..., :1].expand_as(tensors[name])}
    dense = tensors | {name: expanded[name].contiguous()}
    assert torch.allclose(_scan(expanded), _scan(dense), rtol=1e-6, atol=1e-6)


def test_an_empty_batch_gives_empty_results():
    tensors = scan_tensors(b=0)
    results = values_and_gradients("cpu", tensors)
    assert_near(results, values_and_gradients("reference", tensors), 0)
    assert results["out"].shape == (0, 9, 5)


def test_no_steps_give_the_initial_state_and_its_gradient():
    tensors = scan_tensors(length=0)
    results = values_and_gradients("cpu", tensors)
    assert results["out"].shape == (2, 0, 5)
    assert torch.equal(results["last"], tensors["initial_state"])
    assert torch.equal(results["initial_state"], 2 * tensors["initial_state"])
    assert (results["A"] == 0).all()


@pytest.mark.parametrize("d", [5, 16])
def test_an_expanded_gradient_is_read_as_it_is(d):
    leaf = scan_tensors(length=40, d=d)["u"].requires_grad_()
    tensors = scan_tensors(length=40, d=d) | {"u": leaf}
    out = _scan(tensors)
    expanded = torch.ones(()).double().expand_as(out)
    ours = torch.autograd.grad(out, leaf, expanded, retain_graph=True)[0]
    assert torch.equal(ours, torch.autograd.grad(out, leaf, torch.ones_like(out))[0])


@pytest.mark.parametrize("raw", [-100.0, 0.0, 100.0])
@pytest.mark.parametrize("rate", [0.0, 1e-3, -1e-3, -100.0])
@pytest.mark.parametrize("variant", [each.name for each in supported()])
def test_extreme_steps_and_rates_agree_with_the_reference(raw, rate, variant):
    tensors = scan_tensors(length=20)
    tensors["delta"][:, :, 3:9] = raw
    tensors["A"][:] = rate
    single = {name: tensor.float() for name, tensor in tensors.items()}
    rounded = {name: tensor.double() for name, tensor in single.items()}
    with instruction_set(variant):
        if cpu.missing() is not None:
            pytest.skip(str(cpu.missing()))
        assert_near(
            values_and_gradients("cpu", single), values_and_gradients("reference", rounded), NARROW
        )


@pytest.mark.parametrize("variant", [each.name for each in supported()])
def test_a_decay_too_small_for_a_number_is_exactly_zero(variant):
    tensors = scan_tensors(length=5, dtype=torch.float32)
    tensors["A"][:], tensors["delta"][:], tensors["u"][:, 1:] = -1e4, 1.0, 0.0
    del tensors["D"], tensors["z"]
    with instruction_set(variant):
        if cpu.missing() is not None:
            pytest.skip(str(cpu.missing()))
        out = values_and_gradients("cpu", tensors)
    assert (out["out"][:, 1:] == 0).all()
    assert (out["last"] == 0).all()
    assert all(tensor.isfinite().all() for tensor in out.values())


def test_the_scan_is_linear_in_u():
    tensors = {n: t for n, t in scan_tensors(length=70).items() if n != "initial_state"}
    other = torch.randn(tensors["u"].shape, dtype=torch.float64)
    mixed = _scan(tensors | {"u": 2 * tensors["u"] - 3 * other})
    assert torch.allclose(mixed, 2 * _scan(tensors) - 3 * _scan(tensors | {"u": other}))


def test_elements_of_a_batch_do_not_see_each_other():
    tensors = scan_tensors(b=3, length=40, dtype=torch.float32)
    batched = {"u", "delta", "B", "C", "z", "initial_state"}
    alone = {n: t[1:2] if n in batched else t for n, t in tensors.items()}
    assert torch.equal(_scan(tensors)[1], _scan(alone)[0])


def test_gradcheck_passes_with_windows_and_lengths():
    tensors = scan_tensors(length=5, d=3, n=2)
    leaves = [tensor.requires_grad_() for tensor in tensors.values()]

    def call(*values):
        named = dict(zip(tensors, values, strict=True))
        return _scan(named, local_window=2, lengths=torch.tensor([5, 3]), return_last_state=True)

    assert torch.autograd.gradcheck(call, leaves)


@pytest.mark.parametrize("optional", [True, False])
def test_the_operator_keeps_the_rules_of_torch_library(optional):
    t = scan_tensors(length=9, dtype=torch.float32)
    u = t["u"][:, None].requires_grad_()
    extra = (t["D"], t["delta_bias"]) if optional else (None, None)
    gate = (t["z"], t["initial_state"]) if optional else (None, None)
    table = orders(2, 9) if optional else None
    lengths = torch.tensor([9, 4], dtype=torch.int32) if optional else None
    data = (u, t["delta"], t["A"], t["B"], t["C"], *extra, None, *gate, table, lengths)
    torch.library.opcheck(cpu.scan, (*data, True, True, 4 if optional else 0, True))
