"""Exported networks beside ours: differences of their logits and seconds of a forward pass.

`python -m benchmarks.exports [NETWORK ...]` exports the published networks as .pt2 and as ONNX,
holds both against ours at two sizes and batches 1 and 2, and all three against float64. Rows of
networks that are not named stay as they are.
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import tables
from benchmarks.timing import ROOT, side_by_side
from medssm.bundle.programs import open_onnx, portable_program, trials, write_onnx, write_program
from medssm.networks import NETWORKS
from medssm.training.log_files import processor_name
from tests.goldens.golden_init import golden_init_

FILE = ROOT / "benchmarks" / "results" / "exports.json"
CHANNELS, CLASSES, THREADS, SECONDS = 1, 3, 1, 5.0
# the authors' own widths and depths; LightM-UNet is of volumes, the others of slices
SIZES: dict[str, tuple[int, ...]] = {
    "lightm_unet": (16, 24, 32),
    "vm_unet": (64, 96),
    "mhs_vm": (64, 96),
    "msvm_unet": (64, 96),
}
# a network as it starts, and with weights of unit variance, which make larger logits
STARTS = ("published start", "unit variance")
Run = Callable[[Tensor], Tensor]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports")
    parser.add_argument("network", nargs="*", metavar="NETWORK", help=", ".join(SIZES))
    parser.add_argument("--start", choices=STARTS, action="append", help="only this one")
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    for name in asked.network or SIZES:
        for start in asked.start or STARTS:
            row = measure(name, start)
            print(row, flush=True)
            _write(row)
    tables.write()


def _write(new: dict[str, Any]) -> None:
    """Put a row in its place among those that are there."""
    rows = {(row["network"], row["weights"]): row for row in [*_before(), new]}
    order = [rows[key] for key in sorted(rows, key=lambda key: (list(SIZES).index(key[0]), key))]
    result = {"what": __doc__.splitlines()[0], "rows": order}
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def build(name: str, start: str) -> nn.Module:
    """A published network with its start weights, or with others of unit variance."""
    torch.manual_seed(0)
    network: nn.Module = NETWORKS.build(
        name, spatial_dims=len(SIZES[name]), in_channels=CHANNELS, out_channels=CLASSES
    ).eval()
    return network if start == STARTS[0] else golden_init_(network)


def measure(name: str, start: str) -> dict[str, Any]:
    """Export one network both ways and hold it against ours."""
    network = build(name, start)
    load, begun = os.getloadavg()[0], time.perf_counter()
    made = portable_program(network, CHANNELS, SIZES[name])
    traced = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx, pt2 = Path(folder, "network.onnx"), Path(folder, "network.pt2")
        write_onnx(made, network, onnx)
        written = time.perf_counter()
        write_program(made, pt2)
        runs: dict[str, Run] = {
            "ours": network,
            "pt2": torch.export.load(pt2).module(),
            "onnx": open_onnx(onnx),
        }
        inputs = trials(made.example, made.other)
        megabytes = {"pt2": pt2.stat().st_size / 1e6, "onnx": onnx.stat().st_size / 1e6}
        with torch.no_grad():
            answers = {who: [run(x) for x in inputs] for who, run in runs.items()}
            times = side_by_side({who: _call(run, inputs[0]) for who, run in runs.items()}, SECONDS)
            exact = [network.double()(x.double()) for x in inputs]
    return {
        "network": name, "weights": start, "parameters_M": _millions(network),
        "sizes": ["x".join(map(str, x.shape[2:])) for x in (made.example, made.other)],
        "batches": [1, 2], "any_size": made.any_size,
        "largest_logit": float(f"{max(float(x.abs().max()) for x in exact):.3g}"),
        "pt2_to_ours": _worst(answers["pt2"], answers["ours"]),
        "onnx_to_ours": _worst(answers["onnx"], answers["ours"]),
        **{f"{who}_to_float64": _worst(answers[who], exact) for who in runs},
        **{f"{who}_ms": round(times[who].wall_ms, 1) for who in runs},
        **{f"{who}_cpu_ms": round(times[who].cpu_ms, 1) for who in runs},
        **{f"{who}_over_ours": round(times[who].cpu_ms / times["ours"].cpu_ms, 2)
           for who in ("pt2", "onnx")},
        "trace_seconds": round(traced - begun), "onnx_seconds": round(written - traced),
        "megabytes": {kind: round(size, 1) for kind, size in megabytes.items()},
        "machine": {"processor": processor_name(), "threads": THREADS, "load": round(load, 1)},
    }  # fmt: skip


def _before() -> list[dict[str, Any]]:
    return json.loads(FILE.read_text(encoding="utf-8"))["rows"] if FILE.exists() else []


def _call(run: Run, x: Tensor) -> Callable[[], Tensor]:
    return lambda: run(x)


def _worst(found: list[Tensor], true: list[Tensor]) -> float:
    pairs = zip(found, true, strict=True)
    return float(f"{max(float((a.double() - b.double()).abs().max()) for a, b in pairs):.2e}")


def _millions(network: nn.Module) -> float:
    return round(sum(each.numel() for each in network.parameters()) / 1e6, 2)


if __name__ == "__main__":
    main()
