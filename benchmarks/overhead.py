"""What a call costs before any work: microseconds of the smallest calls, and peak memory."""

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers import make_inputs, unbind_loop
from benchmarks.scan import NAMES, SHAPES, ours
from benchmarks.timing import extra_megabytes, in_a_child
from medssm.ops.backends import prefer
from medssm.ops.conv import causal_conv1d


def measure() -> dict[str, Any]:
    """Overhead of the smallest calls, and memory of the three shapes."""
    memory = [
        in_a_child("overhead", "memory", shape, who)
        for shape in SHAPES
        for who in ("ours", "unbind loop", "chunked")
    ]
    for row in memory:
        print(row, flush=True)
    return {"call_us": _overhead(), "memory": memory}


def _overhead() -> dict[str, float]:
    """Median microseconds of calls so small that only the way to the kernel counts."""
    torch.set_num_threads(1)
    inputs = make_inputs(1, 1, 1, 8, 1)
    scan = ours(inputs)
    x, weight = torch.zeros(1, 1, 8), torch.zeros(1, 8, 4)

    def conv() -> None:
        with prefer("cpu"):
            causal_conv1d(x, weight, None)

    with torch.no_grad():
        found = {"scan forward": _median_us(scan), "convolution forward": _median_us(conv)}
    leaves = [each.requires_grad_() for each in inputs.values()]

    def both() -> None:
        torch.autograd.grad(scan().sum(), leaves)

    return found | {"scan forward+backward": _median_us(both)}


def _median_us(call: Callable[[], object], count: int = 2000) -> float:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return round(sorted(times)[count // 2] * 1e6, 1)


def memory(shape: str, who: str) -> dict[str, Any]:
    """Peak megabytes of forward and backward beyond the inputs; call it in a fresh process."""
    torch.set_num_threads(2)
    _backward(who, make_inputs(1, 1, 40, 64, 16))  # libraries, threads and their stacks
    batch, channels, length = SHAPES[shape]
    inputs = make_inputs(batch, 1, length, channels, 16)
    weight = torch.randn(batch, length, channels)
    size = sum(each.numel() * 4 for each in inputs.values()) / 1e6
    extra = extra_megabytes(lambda: _backward(who, inputs, weight))
    return {"shape": shape, "who": who, "inputs_mb": round(size, 1), "extra_mb": round(extra, 1),
            "times_the_inputs": round(extra / size, 2)}  # fmt: skip


def _backward(
    who: str, inputs: dict[str, torch.Tensor], weight: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    leaves = [inputs[name].requires_grad_() for name in NAMES]
    if who == "unbind loop":
        u, delta, A, B, C, D, bias = leaves
        out = unbind_loop(u, delta[:, 0], A[0], B[:, 0], C[:, 0], D[0], bias[0])
    else:
        out = ours(inputs, "cpu" if who == "ours" else who)()
    return torch.autograd.grad(out, leaves, torch.ones_like(out) if weight is None else weight)
