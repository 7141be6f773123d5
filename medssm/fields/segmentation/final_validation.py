"""The full validation of a fold: held-back cases by sliding window, scored on their own grid."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medssm.core.files import write_json
from medssm.core.log import say, warn
from medssm.data.labels import Labels
from medssm.data.manifest import read_manifest
from medssm.data.readers import reader_of
from medssm.fields.segmentation.folder_prediction import predict_to_folder
from medssm.fields.segmentation.inputs import InputCase
from medssm.fields.segmentation.patches import Store
from medssm.fields.segmentation.plan_file import Plan
from medssm.runs.workspace import Workspace

# files, resampling and a slower moment of the machine
_MARGIN = 1.5
_CONSTANT_S = 5.0


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
    rows = []
    for name in report.done:
        prediction = folder / "validation" / f"{name}{manifest.file_ending}"
        label = manifest.cases[name].label
        assert label is not None
        rows.append(score_case(prediction, label, plan.labels))
    summary = summarise(rows, plan.labels)
    write_json(folder / "validation" / "summary.json", summary)
    mean = float(summary["foreground_mean"]["Dice"])
    say("Validation of %d held-back cases: mean foreground Dice %.4f.", len(rows), mean)
    return mean


def score_case(prediction: Path, reference: Path, labels: Labels) -> dict[str, Any]:
    """Overlap of one label map with its reference, by label, in nnU-Net's words."""
    guess, truth = (reader_of(file).array(file) for file in (prediction, reference))
    seen = np.ones(truth.shape, dtype=bool)
    if labels.ignore is not None:
        seen = truth != labels.ignore
    metrics = {}
    for name in labels.foreground:
        mine, real = labels.mask(guess, name) & seen, labels.mask(truth, name) & seen
        tp = int(np.count_nonzero(mine & real))
        fp, fn = int(np.count_nonzero(mine)) - tp, int(np.count_nonzero(real)) - tp
        union = tp + fp + fn
        metrics[_key(labels, name)] = {
            "Dice": 2 * tp / (2 * tp + fp + fn) if union else float("nan"),
            "IoU": tp / union if union else float("nan"),
            "TP": tp, "FP": fp, "FN": fn, "TN": int(np.count_nonzero(seen)) - union,
            "n_pred": tp + fp, "n_ref": tp + fn,
        }  # fmt: skip
    return {
        "metrics": metrics,
        "prediction_file": prediction.name,
        "reference_file": str(reference),
    }


def summarise(rows: Sequence[dict[str, Any]], labels: Labels) -> dict[str, Any]:
    """Means over cases, then over labels; a case where neither has the label does not count."""
    mean: dict[str, dict[str, float]] = {}
    for name in labels.foreground:
        key = _key(labels, name)
        found = [row["metrics"][key] for row in rows]
        mean[key] = {each: _mean([one[each] for one in found]) for each in (found or [{}])[0]}
    keys = next(iter(mean.values()), {})
    return {
        "foreground_mean": {each: _mean([one[each] for one in mean.values()]) for each in keys}
        or {"Dice": float("nan")},
        "mean": mean,
        "metric_per_case": list(rows),
        "labels": {_key(labels, name): name for name in labels.foreground},
    }


def _key(labels: Labels, name: str) -> str:
    """nnU-Net writes a class as its value and a region as the tuple of its values."""
    members = labels.members(name)
    return str(members[0]) if len(members) == 1 else str(members)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


@torch.no_grad()
def validation_seconds(
    network: nn.Module, plan: Plan, store: Store, names: Sequence[str], config: Any
) -> float:
    """Estimate how long the full validation takes, by timing one window.

    Returns:
        Seconds, with a margin.
    """
    window = torch.zeros(1, plan.num_channels, *plan.patch_size)
    network.eval()
    network(window)
    began = time.monotonic()
    network(window)
    each = time.monotonic() - began
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
