"""`medssm doctor`: versions, device, backends, disk, optional packages and a short self-test."""

import argparse
import os
import re
import shutil
import tempfile
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
    calls = _calls()
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
        "instruction_set": instruction_set(),
        "backends": backends.facts["backends"],
        "calls": calls,
        "optional": packages,
        "self_test": checks,
    }
    rows = [
        ["system", where["system"]],
        ["device", f"{choice.device}: {choice.reason}"],
        ["threads", f"{choice.threads} of {os.cpu_count()} cores"],
        ["instruction set", facts["instruction_set"]],
        ["compiler", facts["compiler"] or "none (not needed; kernels fall back to PyTorch)"],
        ["home", f"{arguments.home}, {disk} GiB free"],
        *([name, number] for name, number in where["versions"].items()),
    ]
    lines = [*table(rows, ("what", "found")), "", *_call_lines(calls), ""]
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
        "the operators agree with their reference": _operators_problem,
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


def instruction_set() -> str:
    """What the native library of this process uses, and what PyTorch does."""
    import torch

    from medssm.ops.native.build import variant
    from medssm.ops.native.variants import NoCompilerError

    try:
        native = variant().name
    except NoCompilerError as error:
        native = f"none ({error})"
    return f"{native}; PyTorch uses {torch.backends.cpu.get_cpu_capability()}"


def _calls() -> list[dict[str, Any]]:
    from medssm.ops.diagnosis import choices

    return [{**choice._asdict(), "refusals": dict(choice.refusals)} for choice in choices()]


def _call_lines(calls: list[dict[str, Any]]) -> list[str]:
    """Which backend takes each call; then each refusal with the calls that it meets."""
    calls = sorted(calls, key=lambda call: str(call["operator"]))
    taken = [[c["operator"], c["call"], c["backend"] or "none"] for c in calls]
    met: dict[tuple[str, str, str], list[str]] = {}
    for each in calls:
        for backend, why in each["refusals"].items():
            met.setdefault((each["operator"], backend, why), []).append(each["call"])
    every = {operator: sum(c["operator"] == operator for c in calls) for operator, *_ in taken}
    refused = [
        [
            operator,
            backend,
            "every call" if len(names) == every[operator] else ", ".join(names),
            why,
        ]
        for (operator, backend, why), names in met.items()
    ]
    lines = table(taken, ("operator", "call", "runs on"))
    return [*lines, "", *table(refused, ("operator", "refuses", "what", "because"))]


def _operators_problem() -> str:
    """Compare the backends that this machine takes with the equations, for two seconds."""
    from medssm.ops.diagnosis import self_test as compare

    wrong = [v for v in compare(_SELF_TEST_SECONDS) if v.problem]
    return "; ".join(f"{v.operator} ({v.call}) on {v.backend}: {v.problem}" for v in wrong)


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
