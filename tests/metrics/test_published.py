"""Measures as papers computed them give the numbers that a person counts, flaws included."""

import numpy as np
import pytest

from medssm.metrics import METRICS
from medssm.metrics.masks import MaskPair
from medssm.metrics.pooled import Confusion, pooled_measures


def _pair(reference, prediction, spacing=(1.0, 1.0)):
    return MaskPair(np.array(reference, bool), np.array(prediction, bool), spacing)


def _value(name, pair):
    return METRICS.load(name).value(pair)


EMPTY, FULL = [[0, 0], [0, 0]], [[1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("reference", "prediction", "dice", "hd95"),
    [(FULL, FULL, 1, 0), (EMPTY, FULL, 1, 0), (FULL, EMPTY, 0, 0), (EMPTY, EMPTY, 0, 0)],
    ids=["both", "false organ", "missed organ", "neither"],
)
def test_transunets_rules_for_empty_masks(reference, prediction, dice, hd95):
    pair = _pair(reference, prediction)
    assert _value("transunet_dice", pair) == dice
    assert _value("transunet_hd95", pair) == hd95


def test_transunets_hd95_pools_both_borders_and_forgets_the_spacing():
    # a line of 5 against its first 3 pixels: distances 0 0 0 1 2 one way and 0 0 0 the other;
    # the 95th percentile of the eight lies 0.65 of the way from 1 to 2
    pair = _pair([[1, 1, 1, 1, 1]], [[1, 1, 1, 0, 0]], (1.0, 9.0))
    assert _value("transunet_hd95", pair) == pytest.approx(1.65)
    assert _value("transunet_dice", pair) == 0.75
    # properly, each way by itself and in mm: two pixels of 9 mm
    assert _value("hd95", pair) == 18.0


def test_transunets_border_is_the_voxels_with_a_face_outside():
    # 3 x 3 x 3 in the middle of 5 x 5 x 5: all 26 voxels around the core, and the image's edge
    reference, prediction = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    reference[1:4, 1:4, 1:4] = True
    prediction[2, 2, 2] = True
    # from the core one step to 6 faces' voxels: 1; from the 26: 6 at 1, 12 at sqrt 2, 8 at sqrt 3
    pair = MaskPair(reference, prediction, (1.0, 1.0, 1.0))
    assert _value("transunet_hd95", pair) == pytest.approx(np.sqrt(3))
    assert _value("transunet_dice", pair) == pytest.approx(2 / 28)


def test_pooled_measures_of_a_confusion_matrix():
    found = pooled_measures(Confusion(6, 2, 4, 8))
    assert found == {
        "ISIC_pooled_IoU": 6 / 12,
        "ISIC_pooled_Dice": 12 / 18,
        "ISIC_pooled_accuracy": 14 / 20,
        "ISIC_pooled_sensitivity": 6 / 10,
        "ISIC_pooled_specificity": 8 / 10,
    }
    assert set(pooled_measures(Confusion(0, 0, 0, 0)).values()) == {0.0}
