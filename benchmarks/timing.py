"""Wall clock, process CPU time and peak memory of calls, the contestants taking turns."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
Call = Callable[[], Any]


class Time(NamedTuple):
    """The best of several runs, milliseconds."""

    wall_ms: float
    cpu_ms: float


def side_by_side(calls: dict[str, Call], seconds: float = 4.0, most: int = 40) -> dict[str, Time]:
    """Run contestants in turns, so that a busy minute of the machine meets all of them.

    Args:
        calls: Name to call.
        seconds: Each gets its turns until it has used this time; at least two turns, and one
            where a single turn takes longer.
        most: Turns at most.

    Returns:
        The best wall clock and the best CPU time of each, the first turn left out where there
        are others.
    """
    turns: dict[str, list[Time]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    waiting = list(calls)
    while waiting:
        for name in list(waiting):
            one = _once(calls[name])
            turns[name].append(one)
            spent[name] += one.wall_ms / 1000
            done = len(turns[name])
            if done >= most or (spent[name] > seconds and done >= 2) or spent[name] > 2 * seconds:
                waiting.remove(name)
    return {name: _best(rows[1:] or rows) for name, rows in turns.items()}


def _once(call: Call) -> Time:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Time((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000)


def _best(rows: list[Time]) -> Time:
    return Time(min(row.wall_ms for row in rows), min(row.cpu_ms for row in rows))


def passes(call: Callable[[], Tensor], leaves: list[Tensor], weight: Tensor) -> dict[str, Call]:
    """The two passes of a call: without gradients, and with the gradients of all leaves.

    Args:
        call: Computes the result from the leaves.
        leaves: Tensors that require gradients.
        weight: The gradient of the loss, of the result's shape.
    """

    def forward() -> None:
        with torch.no_grad():
            call()

    def both() -> None:
        torch.autograd.grad(call(), leaves, weight)

    return {"forward": forward, "forward+backward": both}


def in_a_child(part: str, function: str, *arguments: Any) -> Any:
    """Call a function of a module of this folder in a process of its own.

    Args:
        part: The module, as in `benchmarks.part`.
        function: A function that takes and gives what JSON holds.
        arguments: Passed on.
    """
    code = (
        "import importlib, json, sys;"
        "part = importlib.import_module('benchmarks.' + sys.argv[1]);"
        "result = getattr(part, sys.argv[2])(*json.loads(sys.argv[3]));"
        "print('RESULT' + json.dumps(result))"
    )
    command = [sys.executable, "-c", code, part, function, json.dumps(arguments)]
    # without spinning, threads that wait are not counted as work of a contestant
    environment = {**os.environ, **OPENMP}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
                          check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"benchmarks.{part}.{function}{arguments} failed; see above")
    return json.loads(done.stdout.rsplit("RESULT", 1)[1])


# one setting for all contestants: OpenMP's threads wait asleep after a short while
OPENMP = {"GOMP_SPINCOUNT": "2000", "OMP_DYNAMIC": "FALSE"}


def extra_megabytes(call: Call) -> float:
    """Peak memory of a call beyond what the process held before it, in MB (10^6 bytes).

    Linux only. Use it in a process of its own: memory that was freed before hides what is taken.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = _status_bytes("VmRSS")
    call()
    return (_status_bytes("VmHWM") - before) / 1e6


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024
