"""One golden case: fill by key name, run on the named input, compare with what is stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.goldens.builders import build, builder_of
from tests.goldens.golden_init import golden_input, golden_tensor

# a field whose cases are told otherwise has a module with `recognises(case) -> bool` and
# `run(file, case) -> Verdict`
RUNNERS = (
    "tests.goldens.ecg_cases",
    "tests.goldens.pathology_cases",
    "tests.goldens.pretrain_cases",
    "tests.goldens.recon_cases",
)


@dataclass(frozen=True)
class Verdict:
    """How a case went.

    Args:
        case: Its name.
        error: Largest absolute difference, or NaN if there was nothing to compare.
        allowed: The absolute and relative tolerance in words.
        passed: Whether every value lies within.
        note: Why it did not, if it did not.
    """

    case: str
    error: float
    allowed: str
    passed: bool
    note: str = ""

    def row(self) -> str:
        """A line of the table."""
        word = "pass" if self.passed else "MISS"
        return f"{self.case:32} {self.error:12.3e}   {self.allowed:18} {word}  {self.note}".rstrip()


def find_cases(folder: Path, name: str | None = None) -> list[Path]:
    """Case files of a folder or a folder of folders, those with stored arrays beside them.

    Args:
        folder: Where to look.
        name: Take this case only, whether or not its arrays are there.
    """
    if name is not None:
        return sorted(folder.rglob(f"{name}.json"))
    return sorted(
        file
        for file in folder.rglob("*.json")
        if file.with_suffix(".npz").exists() or _complete(file)
    )


def _complete(file: Path) -> bool:
    """Whether a case without arrays has all that it needs, such as records to score."""
    module = runner_of(case := json.loads(file.read_text()))
    if module is None:
        return False
    asks = getattr(module, "is_complete", None)
    return asks is None or bool(asks(file, case))


def runner_of(case: Any) -> Any:
    """The module of the field that a case belongs to; None for the networks of segmentation."""
    if not isinstance(case, Mapping):
        return None
    modules = map(import_module, RUNNERS)
    return next((module for module in modules if module.recognises(case)), None)


def known(file: Path) -> bool:
    """Whether somebody here can run a case."""
    case = json.loads(file.read_text())
    return runner_of(case) is not None or builder_of(case.get("builds", "")) is not None


def run_case(file: Path) -> Verdict:
    """Hold our module against one stored case; every kind of failure becomes a verdict."""
    case = json.loads(file.read_text())
    runner = runner_of(case)
    if runner is not None:
        return _by_field(runner, file, case)
    builds = case.get("builds")
    if builder_of(builds or "") is None:
        return _failed(file.stem, f"unknown: no builder for {builds!r}")
    weights = {key: golden_tensor(key, torch.empty(shape)) for key, shape in case["state_dict"]}
    try:
        built = build(case, weights)
        with torch.no_grad():
            output = built.run(*(golden_input(name, shape) for name, shape in case["inputs"]))
        stored = np.load(file.with_suffix(".npz"))
        ours, theirs = pair_up(output, stored)
    except Exception as error:  # one broken case must not hide the others
        return _failed(file.stem, f"{type(error).__name__}: {error}")
    atol, rtol = built.tolerance
    off = np.abs(ours - theirs)
    close = bool(np.all(off <= atol + rtol * np.abs(theirs)))
    note = "" if close else _statistics(output, stored)
    counted = case.get("parameters", built.parameters)
    if counted != built.parameters:
        close, note = False, f"{built.parameters} parameters, the official module has {counted}"
    return Verdict(file.stem, float(off.max()), f"{atol:g} + {rtol:g} rel", close, note)


def _by_field(runner: Any, file: Path, case: Mapping[str, Any]) -> Verdict:
    try:
        verdict: Verdict = runner.run(file, case)
    except Exception as error:  # one broken case must not hide the others
        return _failed(file.stem, f"{type(error).__name__}: {error}")
    return verdict


def pair_up(output: Tensor, stored: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Our values and the stored ones: all of them, or the stored samples with the statistics.

    Raises:
        ValueError: The shapes differ.
    """
    ours = output.detach().double().numpy()
    sampled = "output_sample" in stored
    shape = tuple(stored["output_shape"] if sampled else stored["output"].shape)
    if ours.shape != shape:
        raise ValueError(f"output of shape {ours.shape}, stored {shape}")
    if not sampled:
        return ours.ravel(), stored["output"].astype(np.float64).ravel()
    where = np.linspace(0, ours.size - 1, len(stored["output_sample"])).astype(int)
    return (
        np.concatenate([ours.ravel()[where], [ours.mean(), ours.std()]]),
        np.concatenate([stored["output_sample"], [stored["output_mean"], stored["output_std"]]]),
    )


def _statistics(output: Tensor, stored: Mapping[str, Any]) -> str:
    ours = f"ours mean {output.mean():.4g} std {output.std():.4g}"
    if "output_mean" not in stored:
        return ours
    return f"{ours}, stored {float(stored['output_mean']):.4g} {float(stored['output_std']):.4g}"


def _failed(case: str, why: str) -> Verdict:
    return Verdict(case, float("nan"), "", passed=False, note=why)
