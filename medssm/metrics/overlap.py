"""Overlap of two masks: Dice and intersection over union."""

from medssm.metrics.masks import MaskPair, Metric


def dice(pair: MaskPair) -> float:
    """Twice the common voxels over the sum of both masks; 1 if both are empty.

    Source:
        Dice (1945); agrees with monai.metrics.compute_dice(ignore_empty=False).
    """
    total = pair.reference_voxels + pair.predicted_voxels
    return 2 * pair.true_positive / total if total else 1.0


def iou(pair: MaskPair) -> float:
    """Common voxels over the voxels of either mask; 1 if both are empty.

    Source:
        Jaccard (1901); agrees with monai.metrics.compute_iou(ignore_empty=False).
    """
    union = pair.reference_voxels + pair.predicted_voxels - pair.true_positive
    return pair.true_positive / union if union else 1.0


DICE = Metric(
    key="Dice",
    title="Dice",
    unit="",
    better="higher",
    definition="Twice the common voxels over the sum of the voxels of both masks.",
    value=dice,
)
IOU = Metric(
    key="IoU",
    title="IoU",
    unit="",
    better="higher",
    definition="Common voxels over the voxels that lie in either mask (Jaccard index).",
    value=iou,
)
