"""One prediction against its reference: every measure of every label, on the reference's grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.labels import Labels
from medssm.data.readers import reader_of
from medssm.metrics import METRICS
from medssm.metrics.masks import MaskPair, Metric, Verdict

_MM = 1e-2


@dataclass(frozen=True)
class LabelScore:
    """One label of one case.

    Args:
        values: Measure to value.
        verdict: Which of the masks holds anything.
        counts: Voxels, in nnU-Net's words (TP, FP, FN, TN, n_pred, n_ref).
    """

    values: Mapping[str, float]
    verdict: Verdict
    counts: Mapping[str, int]


@dataclass(frozen=True)
class CaseScore:
    """All labels of one case."""

    case: str
    prediction: Path
    reference: Path
    labels: Mapping[str, LabelScore] = field(default_factory=dict)

    def mean(self, measure: str) -> float:
        """Mean of a measure over the labels."""
        return float(np.mean([score.values[measure] for score in self.labels.values()]))


def measures(spatial_dims: int) -> list[Metric]:
    """The measures that are defined for images of so many axes."""
    found = [METRICS.load(name) for name in METRICS]
    return [metric for metric in found if spatial_dims in metric.spatial_dims]


def score_case(
    case: str, prediction: Path, reference: Path, labels: Labels, tolerance_mm: float
) -> CaseScore:
    """Compare a label map with its reference.

    Args:
        case: The case.
        prediction: The label map to judge.
        reference: The true one.
        labels: What values mean.
        tolerance_mm: Of the surface Dice.

    Raises:
        BadDataError: A file is damaged, or they lie on different grids.
    """
    guess, truth, spacing = _read_pair(prediction, reference)
    seen = np.ones(truth.shape, dtype=bool)
    if labels.ignore is not None:
        seen = truth != labels.ignore
    scores = {}
    for name in labels.foreground:
        mine, real = labels.mask(guess, name) & seen, labels.mask(truth, name) & seen
        box = _box(mine | real)
        pair = MaskPair(real[box], mine[box], spacing, tolerance_mm, truth.shape)
        values = {metric.key: float(metric.value(pair)) for metric in measures(truth.ndim)}
        tp, fp, fn = pair.true_positive, pair.false_positive, pair.false_negative
        counts = {
            "TP": tp, "FP": fp, "FN": fn, "TN": int(seen.sum()) - tp - fp - fn,
            "n_pred": tp + fp, "n_ref": tp + fn,
        }  # fmt: skip
        scores[name] = LabelScore(values, pair.verdict, counts)
    return CaseScore(case, prediction, reference, scores)


def _read_pair(
    prediction: Path, reference: Path
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    headers = [reader_of(file).header(file) for file in (prediction, reference)]
    guess, truth = (_squeezed(reader_of(file).array(file)) for file in (prediction, reference))
    if guess.shape != truth.shape:
        raise BadDataError(
            f"{prediction}: shape {guess.shape}. Expected {truth.shape}, as {reference}; predict "
            "on the image that belongs to that reference."
        )
    mine, theirs = headers[0].affine, headers[1].affine
    if mine is not None and theirs is not None and np.abs(mine - theirs).max() > _MM:
        raise BadDataError(
            f"{prediction}: lies elsewhere than {reference} (affines differ by up to "
            f"{np.abs(mine - theirs).max():.3g}). Expected the same grid."
        )
    return guess, truth, headers[1].spacing_mm[: truth.ndim]


def _squeezed(voxels: np.ndarray) -> np.ndarray:
    """Without axes of one voxel behind the third or, for a single slice, the last."""
    while voxels.ndim > 2 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    return voxels


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """Around all that is set; one voxel where nothing is."""
    if not mask.any():
        return (slice(0, 1),) * mask.ndim
    box = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)
