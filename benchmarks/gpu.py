"""The scan on a GPU as a share of its byte and exponential floors, and beside mamba_ssm."""

import importlib.util
import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.peers import Walks, agree, copied_routes, make_inputs
from benchmarks.routes import table_of
from medssm.ops.scan import selective_scan

EXPONENTIALS_PER_CLOCK = 16  # of one streaming multiprocessor, compute capability 7.0 to 9.0


class Shape(NamedTuple):
    """Batch, channels, grid, and axis orders; each is walked there and back, all in one call."""

    batch: int
    channels: int
    grid: tuple[int, ...]
    walks: Walks
    states: int = 16


SHAPES = {
    "volume (2, 96, 64^3), 2 routes": Shape(2, 96, (64, 64, 64), ((0, 1, 2),)),
    "image (8, 192, 56^2), 4 routes": Shape(8, 192, (56, 56), ((0, 1), (1, 0))),
    "bag (1, 512, 50000), 2 routes": Shape(1, 512, (50_000,), ((0,),)),
    "signal (32, 256, 1000), 2 routes": Shape(32, 256, (1000,), ((0,),)),
}
TYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
CHUNKED_STEPS = 4000  # the scan in plain PyTorch takes part up to this length


def measure(
    device: str = "cuda", shapes: dict[str, Shape] | None = None, repeats: int = 30
) -> dict[str, Any]:
    """Every shape in both types, forward and with backward.

    Args:
        device: "cuda"; "cpu" for a trial of the program itself.
        shapes: Those of the issue when not given.
        repeats: Runs a figure is the median of.
    """
    limits = _limits(device)
    rows = []
    for name, shape in (shapes or SHAPES).items():
        for kind in TYPES:
            rows += _shape(name, shape, kind, device, limits, repeats)
    return {"device": _device_name(device), "limits": limits, "rows": rows,
            "mamba_ssm": _mamba_ssm() is not None}  # fmt: skip


def _shape(
    name: str, shape: Shape, kind: str, device: str, limits: dict[str, float], repeats: int
) -> list[dict[str, Any]]:
    leaves, weight, crew = _contestants(shape, TYPES[kind], device)
    with torch.no_grad():
        truth = crew["ours"]()
        for call in crew.values():
            agree(call(), truth, 2e-2 if kind == "bfloat16" else 1e-3)
    rows = []
    for what in ("forward", "forward+backward"):
        found = {}
        memory = {}
        for who, call in crew.items():
            run = _pass(call, leaves, weight, what)
            found[who] = round(_median_ms(run, device, repeats), 4)
            memory[who] = _peak_mb(run, device)
        floors = floors_ms(shape, kind, what, limits)
        row: dict[str, Any] = {"shape": name, "type": kind, "pass": what, "ms": found,
                               "extra_mb": memory, "floors_ms": floors}  # fmt: skip
        if floors:
            row["share_of_floor"] = round(max(floors.values()) / found["ours"], 3)
        row["ratio"] = {who: round(ms / found["ours"], 2) for who, ms in found.items()}
        rows.append(row)
        print(row, flush=True)
    return rows


def _contestants(
    shape: Shape, dtype: torch.dtype, device: str
) -> tuple[list[Tensor], Tensor, dict[str, Callable[[], Tensor]]]:
    routes = table_of(shape.grid, shape.walks)
    count, length = routes.table.shape
    inputs = make_inputs(shape.batch, count, length, shape.channels, shape.states)
    for name, each in inputs.items():
        wide = name in {"A", "D", "bias"}
        inputs[name] = each.to(device, torch.float32 if wide else dtype).requires_grad_()
    u, delta, A, B, C, D, bias = leaves = list(inputs.values())

    def ours(deterministic: bool | None = None) -> Tensor:
        return selective_scan(
            u, delta, A, B, C, D, delta_bias=bias, routes=routes, deterministic=deterministic
        )

    def copies() -> Tensor:
        return copied_routes(u, delta, A, B, C, D, bias, grid=shape.grid, walks=shape.walks,
                             laid_out=False)  # fmt: skip

    crew = {"ours": ours, "ours, deterministic": lambda: ours(True), "copies around ours": copies}
    fused = _mamba_ssm()
    if fused is not None:
        crew["mamba_ssm with copies"] = lambda: _grouped(fused, leaves, shape)
    if length <= CHUNKED_STEPS:
        from medssm.ops.backends import prefer

        def chunked() -> Tensor:
            with prefer("chunked"):
                return ours()

        crew["chunked"] = chunked
    return leaves, torch.randn_like(u), crew


def _mamba_ssm() -> Callable[..., Any] | None:
    """The published kernel where it is installed and was built."""
    if importlib.util.find_spec("mamba_ssm") is None or not torch.cuda.is_available():
        return None
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_cuda, selective_scan_fn
    except Exception as error:  # its package fails to import in many ways
        print(f"mamba_ssm is installed but cannot be used: {error}")
        return None
    return selective_scan_fn if selective_scan_cuda is not None else None


def _grouped(kernel: Callable[..., Any], leaves: list[Tensor], shape: Shape) -> Tensor:
    """All routes in one call of a (batch, channel, length) kernel, one group a route.

    The layout changes are views where they can be: only the copies that the routes need are made.
    """
    u, delta, A, B, C, D, bias = leaves

    def call(
        copies: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, **options: Any
    ) -> Tensor:
        b, k, length, d = copies.shape
        flat = [x.transpose(2, 3).reshape(b, k * d, length) for x in (copies, delta)]
        groups = [x.transpose(2, 3).contiguous() for x in (B, C)]
        y = kernel(*flat, A.reshape(k * d, -1), *groups, D.reshape(-1),
                   delta_bias=options["delta_bias"].reshape(-1), delta_softplus=True)  # fmt: skip
        return y.view(b, k, d, length).transpose(2, 3)

    return copied_routes(u, delta, A, B, C, D, bias, grid=shape.grid, walks=shape.walks,
                         laid_out=False, scan=call)  # fmt: skip


def floors_ms(shape: Shape, kind: str, what: str, limits: dict[str, float]) -> dict[str, float]:
    """The least time by bytes (every tensor once) and by exponentials (one a step and state)."""
    if not limits:
        return {}
    k = 2 * len(shape.walks)
    positions = shape.batch * torch.Size(shape.grid).numel()
    tokens, small = positions * shape.channels, positions * k * shape.states
    forward = (2 + k) * tokens + 2 * small
    backward = (3 + 2 * k) * tokens + 4 * small
    both = what != "forward"
    size = 2 if kind == "bfloat16" else 4
    count = tokens * k * shape.states * (2 if both else 1)
    return {
        "bytes": round(size * (forward + both * backward) / limits["bytes_per_s"] * 1e3, 4),
        "exponentials": round(count / limits["exponentials_per_s"] * 1e3, 4),
    }


def _limits(device: str) -> dict[str, float]:
    """Copy bandwidth as measured, and exponentials at the highest clock of the chip."""
    if device == "cpu":
        return {}
    source = torch.randn(2**28, device=device)
    target = torch.empty_like(source)
    seconds = _median_ms(lambda: target.copy_(source), device, 20) / 1e3
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    clock = float(answer.split()[0])
    chips = torch.cuda.get_device_properties(device).multi_processor_count
    return {"bytes_per_s": 2 * source.numel() * 4 / seconds,
            "exponentials_per_s": chips * EXPONENTIALS_PER_CLOCK * clock * 1e6}  # fmt: skip


def _pass(
    call: Callable[[], Tensor], leaves: list[Tensor], weight: Tensor, what: str
) -> Callable[[], object]:
    def forward() -> Tensor:
        with torch.no_grad():
            return call()

    return forward if what == "forward" else lambda: torch.autograd.grad(call(), leaves, weight)


def _median_ms(call: Callable[[], object], device: str, repeats: int) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        if device == "cpu":
            start = time.perf_counter()
            call()
            times.append((time.perf_counter() - start) * 1e3)
            continue
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def _peak_mb(call: Callable[[], object], device: str) -> float | None:
    if device == "cpu":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)


def _device_name(device: str) -> str:
    return "CPU" if device == "cpu" else torch.cuda.get_device_name(device)
