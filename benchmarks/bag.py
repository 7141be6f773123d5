"""A bag of 200,000 tokens in inference: time by length, and peak memory beyond the input."""

import time
from typing import Any

import torch

from benchmarks.peers import make_inputs
from benchmarks.timing import extra_megabytes, in_a_child
from medssm.ops.backends import prefer
from medssm.ops.scan import selective_scan

LENGTHS = (50_000, 100_000, 200_000)
CHANNELS, STATES = 1024, 16


def measure() -> list[dict[str, Any]]:
    """One row a length, each in a process of its own."""
    rows = [in_a_child("bag", "one", length, 2) for length in LENGTHS]
    for row in rows:
        print(row, flush=True)
    return rows


def one(length: int, threads: int, channels: int = CHANNELS) -> dict[str, Any]:
    """Scan one bag, twice: the peak of the first call, the time of the second."""
    torch.set_num_threads(threads)
    with torch.no_grad(), prefer("cpu"):
        _scan(make_inputs(1, 1, 64, channels, STATES))  # libraries and threads
        inputs = make_inputs(1, 1, length, channels, STATES)
        size = sum(each.numel() * 4 for each in inputs.values()) / 1e6
        extra = extra_megabytes(lambda: _scan(inputs))
        wall, cpu = time.perf_counter(), time.process_time()
        _scan(inputs)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"tokens": length, "channels": channels, "states": STATES, "threads": threads,
            "wall_ms": round(wall * 1e3, 1), "cpu_ms": round(cpu * 1e3, 1),
            "cpu_ns_per_token_channel": round(cpu * 1e9 / length / channels, 3),
            "inputs_mb": round(size), "extra_mb": round(extra)}  # fmt: skip


def _scan(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    u, delta, A, B, C, D, bias = inputs.values()
    return selective_scan(u, delta, A, B, C, D, delta_bias=bias)
