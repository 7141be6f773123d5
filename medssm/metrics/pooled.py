"""Measures of one confusion matrix over all pixels of all images, as papers on ISIC count them."""

from collections.abc import Mapping
from dataclasses import dataclass

POOLED_DEFINITION = (
    "One confusion matrix over all pixels of all images: a large lesion weighs more than a small "
    "one, and no case has a value of its own. IoU is that of the foreground, which the papers call "
    "mIoU. A measure without any pixel is 0."
)


@dataclass(frozen=True)
class Confusion:
    """Pixels of all images together.

    Args:
        true_positive: Foreground on both sides.
        false_positive: Foreground of the prediction alone.
        false_negative: Foreground of the reference alone.
        true_negative: Background on both sides.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


def pooled_measures(found: Confusion) -> Mapping[str, float]:
    """IoU, Dice, accuracy, sensitivity and specificity of a confusion matrix.

    Source:
        VM-UNet (2024) and MHS-VM (2024), evaluation on ISIC 2017 and 2018.
    """
    tp, fp = found.true_positive, found.false_positive
    fn, tn = found.false_negative, found.true_negative
    return {
        "ISIC_pooled_IoU": _share(tp, tp + fp + fn),
        "ISIC_pooled_Dice": _share(2 * tp, 2 * tp + fp + fn),
        "ISIC_pooled_accuracy": _share(tp + tn, tp + fp + fn + tn),
        "ISIC_pooled_sensitivity": _share(tp, tp + fn),
        "ISIC_pooled_specificity": _share(tn, tn + fp),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
