"""Golden cases of the electrocardiogram: Vim's mixer and models, and the Challenges' scorers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medssm.layers.mixers import build_mixer
from medssm.networks.keymaps import load_official
from medssm.networks.keymaps.ecg_mamba import MIXER_ALONE, infer_mixer
from tests.goldens.golden_init import golden_input, golden_tensor
from tests.goldens.harness import Verdict, pair_up

MIXER, STACK, WHOLE = (
    "hustvl/Vim mamba-1p1p1 Mamba",
    "official Block+Mamba stack in 1D",
    "hustvl/Vim VisionMamba",
)
ATOL, RTOL = 2e-5, 1e-4
"""Tolerance of ECG section 2.4."""


def recognises(case: Mapping[str, Any]) -> bool:
    """Whether a case is one of ours, by what it says it was made with."""
    built = str((case.get("constructor") or {}).get("cls", ""))
    return built.startswith((MIXER, STACK, WHOLE)) or "physionetchallenges" in str(
        case.get("scorer", "")
    )


def is_complete(file: Path, case: Mapping[str, Any]) -> bool:
    """Whether the records of a scorer case are at hand; they do not travel with the project."""
    from tests.goldens.ecg_scorers import packed_records

    return "scorer" not in case or packed_records(file) is not None


def run(file: Path, case: Mapping[str, Any]) -> Verdict:
    """Hold ours against a case."""
    if "scorer" in case:
        from tests.goldens.ecg_scorers import run_scorer

        return run_scorer(file, case)
    weights = {key: golden_tensor(key, torch.empty(shape)) for key, shape in case["state_dict"]}
    constructor = case["constructor"]
    with torch.random.fork_rng():
        module = _module(constructor, weights)
    inputs = [golden_input(each["name"], each["shape"]) for each in case["inputs"]]
    with torch.no_grad():
        output = module(*(_signal(x) for x in inputs))
    ours, theirs = pair_up(output, np.load(file.with_suffix(".npz")))
    off = np.abs(ours - theirs)
    passed, note = bool(np.all(off <= ATOL + RTOL * np.abs(theirs))), ""
    counted = sum(each.numel() for each in module.parameters())
    if counted != case["parameter_count"]:
        passed = False
        note = f"{counted} parameters, the official module has {case['parameter_count']}"
    return Verdict(file.stem, float(off.max()), f"{ATOL:g} + {RTOL:g} rel", passed, note)


def _module(constructor: Mapping[str, Any], weights: Mapping[str, Tensor]) -> nn.Module:
    merge = {"merge": "mean" if constructor.get("if_divide_out", True) else "sum"}
    if constructor["cls"].startswith(MIXER):
        # the mixer's own default is the plain sum
        merge = {"merge": "mean" if constructor.get("if_divide_out") else "sum"}
        arguments = infer_mixer(weights)
        if arguments["name"] == "vim":
            arguments |= merge
        mixer = build_mixer(arguments, constructor["d_model"], 1)
        fitted, report = MIXER_ALONE.to_ours(weights, mixer.state_dict(), spatial_dims=1)
        report.raise_unless_complete()
        mixer.load_state_dict(fitted)
        return mixer.eval()
    hints: dict[str, Any] = {}
    if any("conv1d_b.weight" in key for key in weights):
        hints["mixer"] = merge
    if "stride" in constructor:
        hints["stride"] = constructor["stride"]
    if "cls_token" in weights:
        middle = constructor.get("use_middle_cls_token", constructor["cls"].startswith(STACK))
        hints["class_token"] = "middle" if middle else "start"
    pooled = constructor.get("final_pool_type", "mean")
    hints["pooling"] = {"none": "last"}.get(pooled, pooled)
    network, _ = load_official("ecg_mamba", weights, **hints)
    return network


def _signal(x: Tensor) -> Tensor:
    """The row of an image as a signal."""
    return x[:, :, 0] if x.ndim == 4 else x
