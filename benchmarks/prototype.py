"""The scan beside the prototype it began from, and beside the plain loop, in one run.

    python -m benchmarks.prototype FOLDER

FOLDER holds the prototype's scan_cpu.py and scan_cpu.cpp (it is compiled for this machine). A ratio
to the plain loop says as much of the loop's luck on a machine as of the kernel; a ratio to another
kernel carries from one machine to the next.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.__main__ import RESULTS, _machine, busy_cores
from benchmarks.peers import agree, unbind_loop
from benchmarks.scan import NAMES, SHAPES, _inputs, _loop, ours
from benchmarks.timing import passes, side_by_side

STATES = 16


def main() -> int:
    """Measure every shape and write the part `prototype` of results/cpu.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the prototype's folder")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    busy = busy_cores()
    torch.set_num_threads(chosen.threads)
    prototype = _load(chosen.folder / "scan_cpu.py")
    rows = [row for shape in SHAPES for row in _rows(shape, prototype)]
    file = RESULTS / "cpu.json"
    result = json.loads(file.read_text(encoding="utf-8"))
    figures = {"threads": chosen.threads, "rows": rows}
    result["prototype"] = {"machine": _machine(busy), "figures": figures}
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    tables.write()
    return 0


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("prototype_scan", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _prototype(module: ModuleType, inputs: dict[str, Tensor]) -> Callable[[], Tensor]:
    def call() -> Tensor:
        u, delta, A, B, C, D, bias = (inputs[name] for name in NAMES)
        return module.routed_scan(u, delta, A, B, C, D, bias)

    return call


def _rows(shape: str, module: ModuleType) -> list[dict[str, Any]]:
    batch, channels, length = SHAPES[shape]
    inputs = _inputs(shape, STATES)
    weight = torch.randn(batch, length, channels)
    crew = {
        "ours": ours(inputs),
        "prototype": _prototype(module, inputs),
        "unbind loop": _loop(unbind_loop, inputs),
    }
    with torch.no_grad():
        agree(crew["ours"](), crew["prototype"]())
    rows = []
    for what in ("forward", "forward+backward"):
        times = side_by_side(
            {name: passes(call, list(inputs.values()), weight)[what] for name, call in crew.items()}
        )
        cpu = {name: each.cpu_ms for name, each in times.items()}
        rows.append(
            {
                "shape": shape, "states": STATES, "pass": what,
                "cpu_ms": {name: round(value, 3) for name, value in cpu.items()},
                "ratio_to_prototype": round(cpu["prototype"] / cpu["ours"], 2),
                "ratio_to_unbind": round(cpu["unbind loop"] / cpu["ours"], 1),
                "prototype_to_unbind": round(cpu["unbind loop"] / cpu["prototype"], 1),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
