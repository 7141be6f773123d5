"""The Triton kernels on a GPU: every size, type and option against the equations."""

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.conv import causal_conv1d
from medssm.ops.routes import cross2d, there_and_back
from medssm.ops.scan import selective_scan
from tests.support.scans import assert_near, orders, scan_tensors, values_and_gradients

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device"),
]
HALVES = ("u", "delta", "B", "C", "z")


def placed(tensors, dtype=torch.float32):
    return {
        name: t.to("cuda", dtype if name in HALVES else torch.float32)
        for name, t in tensors.items()
    }


def held(tensors, value=2e-6, gradient=1e-5, **options):
    """Hold values and gradients against the float64 loop over the same (rounded) inputs."""
    ours = values_and_gradients("triton", tensors, **options)
    wide = {name: t.double() for name, t in tensors.items()}
    true = values_and_gradients("chunked", wide, **options)
    values = {"out", "last"}
    assert_near(ours, {name: true[name] for name in values}, value)
    assert_near(ours, {name: x for name, x in true.items() if name not in values}, gradient)
    return ours


@pytest.mark.parametrize("length", [1, 7, 8, 9, 63, 100, 128, 257, 1000, 4099])
def test_any_length_works(length):
    held(placed(scan_tensors(length=length)))


@pytest.mark.parametrize(
    ("d", "n"), [(1, 1), (31, 2), (32, 3), (33, 16), (64, 8), (65, 17), (96, 16), (4, 64)]
)
def test_any_number_of_channels_and_states_works(d, n):
    held(placed(scan_tensors(b=1, d=d, n=n, length=300)))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("merge", ["sum", "none"])
@pytest.mark.parametrize("length", [40, 1001])
def test_routes_visit_memory_in_their_order(shared, merge, length):
    order = orders(2, length)
    routes = torch.cat((order, order.flip(1), orders(1, length, seed=9))).cuda()
    tensors = scan_tensors(b=1, k=5, length=length, d=40, n=4, shared=shared)
    held(placed(tensors), routes=routes, merge=merge)


@pytest.mark.parametrize("options", [{"local_window": 8}, {"local_window": 5}, {}])
def test_lengths_and_windows(options):
    lengths = torch.tensor([1, 700, 999], device="cuda")
    tensors = placed(scan_tensors(b=3, k=2, length=999, d=33, n=4))
    held(tensors, lengths=lengths, routes=there_and_back(999).table.cuda(), **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("d", [64, 96])
def test_half_types_keep_a_wide_state(dtype, d):
    tensors = placed(scan_tensors(b=2, k=4, length=32 * 32, d=d, n=16), dtype)
    ours = held(tensors, 1e-2, 2e-2, routes=cross2d(32, 32).table.cuda())
    assert ours["out"].dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_runs_give_the_same_bits(dtype):
    # a race over the states that a program leaves for itself would show here
    tensors = placed(scan_tensors(b=2, k=2, length=20_000, d=96, n=16), dtype)
    routes = there_and_back(20_000).table.cuda()
    first = values_and_gradients("triton", tensors, routes=routes)
    for _ in range(20):
        again = values_and_gradients("triton", tensors, routes=routes)
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_split_and_whole_give_the_same(monkeypatch):
    from medssm.ops.scan import triton_plan

    tensors = placed(scan_tensors(b=1, k=1, length=5000, d=64, n=16))
    split = values_and_gradients("triton", tensors)
    monkeypatch.setattr(triton_plan, "WAVE", 0)
    assert_near(values_and_gradients("triton", tensors), split, 2e-6)


def test_extreme_steps_give_numbers():
    tensors = placed(scan_tensors(length=64))
    tensors["delta"][:, :, ::3] = -100.0
    tensors["delta"][:, :, 1::3] = 100.0
    tensors["A"][:] = -1e3
    ours = values_and_gradients("triton", tensors)
    assert all(value.isfinite().all() for value in ours.values())


def test_more_than_two_to_the_31_elements():
    # two halves, the second from the state of the first, against one run over both
    length, d = 2**22 + 2048, 520
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB of GPU memory")
    g = torch.Generator("cuda").manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=g, device="cuda", dtype=torch.bfloat16)

    u, delta, B, C = (
        normal(1, length, d),
        normal(1, 1, length, d),
        *(normal(1, 1, length, 1),) * 2,
    )
    A = -torch.rand((1, d, 1), generator=g, device="cuda")
    at = length - 4096
    with torch.no_grad(), prefer("triton"):
        whole = selective_scan(u, delta, A, B, C)[:, at:].clone()
        parts = [x[..., :at, :] for x in (u, delta, B, C)]
        _, state = selective_scan(parts[0], parts[1], A, *parts[2:], return_last_state=True)
        ends = [x[..., at:, :] for x in (u, delta, B, C)]
        tail = selective_scan(ends[0], ends[1], A, *ends[2:], initial_state=state)
    assert torch.allclose(whole.float(), tail.float(), atol=1e-2, rtol=1e-2)


def test_a_graph_can_be_captured():
    tensors = placed(scan_tensors(b=1, k=2, length=600, d=64, n=16))
    routes = there_and_back(600).table.cuda()
    with torch.no_grad(), prefer("triton"):
        true = selective_scan(**tensors, routes=routes)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = selective_scan(**tensors, routes=routes)
        graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, true)


def test_compile_gives_the_same():
    tensors = placed(scan_tensors(b=1, k=1, length=500, d=64, n=16))
    compiled = torch.compile(lambda **t: selective_scan(**t) * 2, fullgraph=True)
    assert torch.allclose(compiled(**tensors), selective_scan(**tensors) * 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("taps", [2, 4, 8])
@pytest.mark.parametrize("length", [1, 33, 3000])
def test_the_convolution_is_that_of_shifted_products(dtype, taps, length):
    g = torch.Generator().manual_seed(0)
    sizes = {"x": (2, length, 70), "weight": (3, 70, taps), "bias": (3, 70)}
    raw = {name: torch.randn(size, generator=g).cuda() for name, size in sizes.items()}
    raw["x"] = raw["x"].to(dtype)
    found = []
    for backend, kind in (("triton", None), ("reference", torch.float64)):
        leaves = {
            n: (x if kind is None else x.to(kind)).detach().requires_grad_() for n, x in raw.items()
        }
        with prefer(backend):
            out = causal_conv1d(**leaves, routes=orders(3, length).cuda())
        weight = torch.linspace(0.5, 1.5, out.numel(), device="cuda").view(out.shape).to(out.dtype)
        gradients = torch.autograd.grad((out * weight).sum(), list(leaves.values()))
        found.append({"out": out, **dict(zip(leaves, gradients, strict=True))})
    assert_near(*found, 1e-5 if dtype == torch.float32 else 2e-2)
