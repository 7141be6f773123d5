"""The full validation of a fold: held-back cases by sliding window, scored on their own grid."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medssm.core.log import say, warn
from medssm.data.manifest import read_manifest
from medssm.fields.segmentation.evaluate import EvaluateConfig, evaluate
from medssm.fields.segmentation.folder_prediction import predict_to_folder
from medssm.fields.segmentation.inputs import InputCase
from medssm.fields.segmentation.patches import Store
from medssm.fields.segmentation.plan_file import Plan
from medssm.inference.windows import windows_at_once
from medssm.runs.workspace import Workspace

# files, resampling and a slower moment of the machine
_MARGIN = 1.5
_CONSTANT_S = 5.0
# the first passes build caches and meet fresh memory
_TIMINGS = 4


def validate_fold(
    network: nn.Module,
    plan: Plan,
    workspace: Workspace,
    names: Sequence[str],
    folder: Path,
    mirror: bool,
) -> float | None:
    """Predict held-back cases into FOLD/validation and score them.

    Args:
        network: With its final weights.
        plan: The plan.
        workspace: Where the data set lies.
        names: Cases to predict.
        folder: The fold's folder.
        mirror: Whether to average over mirrored windows.

    Returns:
        Mean foreground Dice, or None where the raw images are not at hand.
    """
    if not workspace.has_raw:
        say("The raw images are not at hand; the held-back cases are not predicted.")
        return None
    manifest = read_manifest(workspace.raw_folder)
    cases = [InputCase(name, tuple(manifest.cases[name].images)) for name in names]
    report = predict_to_folder(
        network,
        plan,
        cases,
        folder / "validation",
        file_ending=manifest.file_ending,
        mirror_axes=tuple(range(plan.spatial_dims)) if mirror else (),
    )
    for name, reason in report.failed.items():
        warn("validation of %s failed: %s", name, reason)
    if not report.done:
        return None
    scores = evaluate(
        EvaluateConfig(
            predictions=folder / "validation",
            references=workspace.raw_folder,
            output=folder / "validation",
        )
    )
    say(
        "Validation of %d held-back cases: mean foreground Dice %.4f.",
        len(scores.cases),
        scores.mean_dice,
    )
    return scores.mean_dice


@torch.no_grad()
def validation_seconds(
    network: nn.Module, plan: Plan, store: Store, names: Sequence[str], config: Any
) -> float:
    """Estimate how long the full validation takes, by timing one pass.

    Returns:
        Seconds, with a margin.
    """
    at_once = windows_at_once(plan.patch_size, torch.device("cpu"))
    window = torch.zeros(at_once, plan.num_channels, *plan.patch_size)
    network.eval()
    each = min(_seconds(network, window) for _ in range(_TIMINGS)) / at_once
    network.train()
    windows = 0.0
    for name in names:
        shape = store[name].image.shape[1:][-plan.spatial_dims :]
        tiles = [
            max(1, int(np.ceil((size - patch) / (patch / 2))) + 1) if size > patch else 1
            for size, patch in zip(shape, plan.patch_size, strict=True)
        ]
        planes = store[name].image.shape[1] if plan.spatial_dims == 2 else 1
        windows += float(np.prod(tiles)) * planes
    flips = 2**plan.spatial_dims if config.augmentation.mirror else 1
    return windows * flips * each * _MARGIN + _CONSTANT_S


def _seconds(network: nn.Module, window: torch.Tensor) -> float:
    began = time.monotonic()
    network(window)
    return time.monotonic() - began
