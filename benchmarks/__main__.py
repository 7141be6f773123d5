"""`python -m benchmarks [PART ...]`: tests first, then figures; none over a red test."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import plot, tables
from benchmarks.timing import OPENMP, in_a_child

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
QUIET = 0.3  # cores that others may use while figures are taken
GATE = ["tests/contracts/test_backends.py", "tests/ops", "tests/goldens"]
# file of results -> part -> (module, function), in the order of the run
PARTS = {
    "cpu": {
        "scan": ("scan", "measure"),
        "routes": ("routes", "measure"),
        "overhead": ("overhead", "measure"),
        "bag": ("bag", "measure"),
        "step": ("step", "measure"),
        "profile": ("step", "profile"),
    },
    "gpu": {"gpu": ("gpu", "measure")},
}


def main() -> int:
    """Run the gate, then the parts asked for, then write results, plot and tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="all of the CPU when none")
    parser.add_argument("--gpu", action="store_true", help="the GPU's parts and tests instead")
    chosen = parser.parse_args()
    kind = "gpu" if chosen.gpu else "cpu"
    unknown = set(chosen.parts) - PARTS[kind].keys()
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; take {', '.join(PARTS[kind])}")
    if not gate_is_green(kind):
        print("a test is red: no figure is measured.")
        return 1
    file = RESULTS / f"{kind}.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for part in chosen.parts or PARTS[kind]:
        busy = busy_cores()
        figures = in_a_child(*PARTS[kind][part])
        result[part] = {"machine": _machine(busy), "figures": figures}
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot.draw(kind)
    tables.write()
    print(f"wrote {file.relative_to(ROOT)}, its plots and docs/backends.md")
    return 0


def gate_is_green(kind: str) -> bool:
    """Run the tests that guard the figures."""
    marks = "gpu" if kind == "gpu" else "not gpu and not slow"
    paths = ["tests"] if kind == "gpu" else GATE
    command = [sys.executable, "-m", "pytest", "-q", "-m", marks, *paths]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def busy_cores(seconds: float = 2.0) -> float:
    """Cores that others keep busy just now."""
    if not Path("/proc/stat").exists():
        return os.getloadavg()[0]
    before = _working_seconds()
    time.sleep(seconds)
    return (_working_seconds() - before) / seconds


def _working_seconds() -> float:
    line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    user, nice, system, _, _, interrupts, soft, stolen = map(int, line.split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _machine(busy: float) -> dict[str, Any]:
    import torch

    from medssm.ops.native.variants import supported
    from medssm.training.log_files import processor_name

    quiet = busy < QUIET
    if not quiet:
        print(f"note: others kept {busy:.1f} cores busy before this part; repeat it in quiet.")
    return {
        "processor": processor_name(), "cores": os.cpu_count(),
        "instruction_sets": [each.name for each in supported()],
        "busy_cores_before": round(busy, 2), "quiet": quiet,
        "python": platform.python_version(), "torch": torch.__version__,
        "openmp": OPENMP, "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }  # fmt: skip


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
