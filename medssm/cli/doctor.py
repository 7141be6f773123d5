"""`medssm doctor`: versions, device, backends, disk, optional packages and a short self-test."""

import argparse
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from medssm.cli.answer import Answer, table
from medssm.cli.show import _show_backends
from medssm.runs.budget import choose_budget
from medssm.runs.manifest_of_run import environment

_SELF_TEST_SECONDS = 2.0


def run_doctor(arguments: argparse.Namespace) -> Answer:
    """Look at this machine; exit code 4 where the self-test fails."""
    choice = choose_budget()
    where = environment()
    packages = optional_packages()
    backends = _show_backends()
    checks = self_test(arguments.home)
    disk = _free_space(arguments.home)
    facts: dict[str, Any] = {
        **where,
        "device": choice.device,
        "budget": choice.budget,
        "threads": choice.threads,
        "cores": os.cpu_count(),
        "compiler": shutil.which("c++") or shutil.which("g++") or shutil.which("cl"),
        "home": str(arguments.home),
        "free_gib": disk,
        "backends": backends.facts["backends"],
        "optional": packages,
        "self_test": checks,
    }
    rows = [
        ["system", where["system"]],
        ["device", f"{choice.device}: {choice.reason}"],
        ["threads", f"{choice.threads} of {os.cpu_count()} cores"],
        ["compiler", facts["compiler"] or "none (not needed; kernels fall back to PyTorch)"],
        ["home", f"{arguments.home}, {disk} GiB free"],
        *([name, number] for name, number in where["versions"].items()),
    ]
    lines = [*table(rows, ("what", "found")), "", *backends.lines, ""]
    lines += table(
        [[p["package"], p["found"], p["remedy"]] for p in packages], ("optional", "", "")
    )
    failed = [check for check in checks if check["problem"]]
    lines += ["", *table([[c["check"], c["problem"] or "ok"] for c in checks], ("self-test", ""))]
    code = 4 if failed else 0
    return Answer(facts, lines, next_command=("medssm", "demo"), exit_code=code)


def optional_packages() -> list[dict[str, str]]:
    """Each package of an extra: its version, or how to install it."""
    found: list[dict[str, str]] = []
    for line in requires("medssm") or []:
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", line)
        if extra is None:
            continue
        name = re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0]
        try:
            row = {"package": name, "found": version(name), "remedy": ""}
        except PackageNotFoundError:
            remedy = f"pip install 'medssm[{extra.group(1)}]'"
            row = {"package": name, "found": "missing", "remedy": remedy}
        found.append(row)
    return found


def self_test(home: Path) -> list[dict[str, str]]:
    """Run the checks, each with its problem in words or an empty text."""
    checks: dict[str, Callable[[], str]] = {
        "the scan agrees with its reference": _scan_problem,
        "the home folder can be written": lambda: _writing_problem(home),
    }
    results = []
    for name, check in checks.items():
        try:
            problem = check()
        # any failure is the finding that the doctor reports
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        results.append({"check": name, "problem": problem})
    return results


def _scan_problem() -> str:
    """Compare the scan that this machine takes with the slow reference, for two seconds at most."""
    import torch

    from medssm.ops.backends import prefer
    from medssm.ops.scan import selective_scan

    generator = torch.Generator().manual_seed(0)
    start, largest, length = time.monotonic(), 0.0, 16
    while time.monotonic() - start < _SELF_TEST_SECONDS / 4 and length <= 256:
        shapes = {"u": (1, length, 8), "delta": (1, 1, length, 8), "A": (1, 8, 4)}
        shapes |= {"B": (1, 1, length, 4), "C": (1, 1, length, 4)}
        inputs = {
            name: torch.randn(shape, generator=generator) * 0.5 for name, shape in shapes.items()
        }
        inputs["A"] = -inputs["A"].abs()
        ours = selective_scan(*inputs.values())
        with prefer("reference"):
            reference = selective_scan(*inputs.values())
        largest = max(largest, float((ours - reference).abs().max()))
        length *= 2
    return "" if largest < 1e-3 else f"they differ by {largest:.2g}; expected below 0.001"


def _writing_problem(home: Path) -> str:
    folder = _existing(home)
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"medssm")
    except OSError as error:
        return f"{folder}: {error.strerror}; choose another place with --home"
    return ""


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _free_space(home: Path) -> float:
    return round(shutil.disk_usage(_existing(home)).free / 2**30, 1)
