"""One prediction against its reference: every measure of every label, on the reference's grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from medssm.core.errors import BadDataError
from medssm.data.labels import Labels
from medssm.data.readers import reader_of
from medssm.metrics import METRICS
from medssm.metrics.masks import MaskPair, Metric, Verdict

Box = tuple[slice, ...]
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


def measures(spatial_dims: int, convention: str | None = None) -> list[Metric]:
    """The measures for images of so many axes, and those of a convention of some papers."""
    found = [METRICS.load(name) for name in METRICS]
    return [
        metric
        for metric in found
        if spatial_dims in metric.spatial_dims and metric.convention in (None, convention)
    ]


def score_case(
    case: str,
    prediction: Path,
    reference: Path,
    labels: Labels,
    tolerance_mm: float,
    *,
    convention: str | None = None,
) -> CaseScore:
    """Compare a label map with its reference.

    Args:
        case: The case.
        prediction: The label map to judge.
        reference: The true one.
        labels: What values mean.
        tolerance_mm: Of the surface Dice.
        convention: Of some papers, whose measures are added.

    Raises:
        BadDataError: A file is damaged, or they lie on different grids.
    """
    guess, truth, spacing = _read_pair(prediction, reference)
    counted = truth.size
    if labels.ignore is not None:
        ignored = truth == labels.ignore
        counted -= int(np.count_nonzero(ignored))
        # background on both sides: neither overlap nor surface sees what is to be ignored
        guess, truth = np.where(ignored, 0, guess), np.where(ignored, 0, truth)
    boxes = [_boxes(guess), _boxes(truth)]
    chosen = measures(truth.ndim, convention)
    scores = {}
    for name in labels.foreground:
        # masks are made in the box of a label alone: a scan may have a hundred labels
        box = _union([found[v] for found in boxes for v in labels.members(name) if v in found],
                     truth.ndim)  # fmt: skip
        mine, real = labels.mask(guess[box], name), labels.mask(truth[box], name)
        pair = MaskPair(real, mine, spacing, tolerance_mm, truth.shape)
        values = {metric.key: float(metric.value(pair)) for metric in chosen}
        tp, fp, fn = pair.true_positive, pair.false_positive, pair.false_negative
        counts = {
            "TP": tp, "FP": fp, "FN": fn, "TN": counted - tp - fp - fn,
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


def _boxes(segmentation: np.ndarray) -> dict[int, Box]:
    """Around each value, all found in one pass."""
    whole = segmentation.astype(np.int32, copy=False)
    found = ndimage.find_objects(np.maximum(whole, 0))
    return {value: box for value, box in enumerate(found, start=1) if box is not None}


def _union(boxes: Sequence[Box], ndim: int) -> Box:
    """Around several boxes; one voxel where there is none."""
    if not boxes:
        return (slice(0, 1),) * ndim
    return tuple(
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
        for axis in range(ndim)
    )
