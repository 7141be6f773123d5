"""The scan on CPU against plain PyTorch in one run: ratio of CPU time and share of the floor."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import floor
from benchmarks.peers import agree, indexed_loop, make_inputs, unbind_loop
from benchmarks.timing import Time, passes, side_by_side
from medssm.ops.backends import prefer
from medssm.ops.native.variants import NONE, instruction_set, supported
from medssm.ops.scan import selective_scan
from medssm.training.devices import keep_freed_memory

# batch, channels, length: a volume, an image, a sequence
SHAPES = {"vol": (1, 64, 32768), "img": (2, 192, 3136), "seq": (1, 384, 1000)}
STATES = (16, 8, 1)
MOST_STEPS = {"indexed loop": {"forward": 4000, "forward+backward": 1000}, "chunked": {}}
NAMES = ("u", "delta", "A", "B", "C", "D", "bias")
Row = dict[str, Any]


def measure(threads: int = 2) -> Row:
    """Every shape against every peer; then our own scan by threads, type and instruction set."""
    torch.set_num_threads(threads)
    found = floor.rates()
    rows = [
        row
        for shape in SHAPES
        for states in STATES
        for row in _against_peers(shape, states, found, "fresh")
    ]
    alone = [row for shape in SHAPES for row in _alone(shape)]
    # as a training of medssm runs: glibc keeps what is freed, outputs meet no page faults
    keep_freed_memory()
    rows += [row for shape in SHAPES for row in _against_peers(shape, 16, found, "kept")]
    return {"threads": threads, "floor": found, "against_peers": rows, "alone": alone}


def ours(inputs: dict[str, Tensor], backend: str = "cpu") -> Callable[[], Tensor]:
    """Our scan over inputs of one route."""

    def call() -> Tensor:
        u, delta, A, B, C, D, bias = (inputs[name] for name in NAMES)
        with prefer(backend):
            return selective_scan(u, delta, A, B, C, D, delta_bias=bias)

    return call


def _loop(function: Callable[..., Tensor], inputs: dict[str, Tensor]) -> Callable[[], Tensor]:
    def call() -> Tensor:
        u, delta, A, B, C, D, bias = (inputs[name] for name in NAMES)
        return function(u, delta[:, 0], A[0], B[:, 0], C[:, 0], D[0], bias[0])

    return call


def _inputs(shape: str, states: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    batch, channels, length = SHAPES[shape]
    inputs = make_inputs(batch, 1, length, channels, states)
    for name in ("u", "delta", "B", "C"):
        inputs[name] = inputs[name].to(dtype)
    return {name: x.requires_grad_() for name, x in inputs.items()}


def _against_peers(
    shape: str, states: int, found: dict[str, float] | None, memory: str
) -> list[Row]:
    batch, channels, length = SHAPES[shape]
    inputs = _inputs(shape, states)
    weight = torch.randn(batch, length, channels)
    crew = {"ours": ours(inputs), "unbind loop": _loop(unbind_loop, inputs)}
    if states == max(STATES) and memory == "fresh":
        crew["chunked"] = ours(inputs, "chunked")
        crew["indexed loop"] = _loop(indexed_loop, inputs)
    with torch.no_grad():
        agree(crew["ours"](), crew["unbind loop"]())
    rows = []
    for what in ("forward", "forward+backward"):
        calls = {
            name: passes(call, list(inputs.values()), weight)[what]
            for name, call in crew.items()
            if length <= MOST_STEPS.get(name, {}).get(what, length)
        }
        times = side_by_side(calls)
        least = found and floor.floor_ms(batch * length * channels, states, what, found)
        rows.append(_row(shape, states, memory, what, times, least))
        print(rows[-1], flush=True)
    return rows


def _row(
    shape: str, states: int, memory: str, what: str, times: dict[str, Time], least: float | None
) -> Row:
    cpu = {name: round(each.cpu_ms, 3) for name, each in times.items()}
    return {
        "shape": shape, "states": states, "memory": memory, "pass": what,
        "cpu_ms": cpu,
        "wall_ms": {name: round(each.wall_ms, 3) for name, each in times.items()},
        "ratio_to_unbind": round(times["unbind loop"].cpu_ms / times["ours"].cpu_ms, 1),
        "floor_cpu_ms": least and round(least, 3),
        "times_the_floor": least and round(times["ours"].cpu_ms / least, 2),
    }  # fmt: skip


def _alone(shape: str) -> list[Row]:
    """Our scan, 16 states: threads 1, 2, 4; half type; every instruction set of this CPU."""
    batch, channels, length = SHAPES[shape]
    weight = torch.randn(batch, length, channels)
    before = torch.get_num_threads()
    cases: dict[str, tuple[int, torch.dtype, str]] = {
        f"{count} threads": (count, torch.float32, "auto")
        for count in (1, 2, 4)
        if count <= (os.cpu_count() or 1)
    }
    cases["bfloat16"] = (before, torch.bfloat16, "auto")
    for variant in supported():
        cases[variant.name] = (before, torch.float32, variant.name)
    rows: list[Row] = []
    for what in ("forward", "forward+backward"):
        calls = {}
        for name, (count, dtype, variant) in cases.items():
            inputs = _inputs(shape, 16, dtype)
            call = passes(ours(inputs), list(inputs.values()), weight.to(dtype))[what]
            calls[name] = _set(call, count, variant)
            calls[name]()  # a variant may have to be built first
        times = side_by_side(calls)
        rows += [
            {"shape": shape, "pass": what, "case": name, "cpu_ms": round(each.cpu_ms, 3),
             "wall_ms": round(each.wall_ms, 3)}
            for name, each in times.items()
        ]  # fmt: skip
        print(rows[-len(times) :], flush=True)
    torch.set_num_threads(before)
    return rows


def _set(call: Callable[[], None], threads: int, variant: str) -> Callable[[], None]:
    assert variant != NONE

    def run() -> None:
        torch.set_num_threads(threads)
        with instruction_set(variant):
            call()

    return run
