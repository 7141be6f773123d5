"""Dice and IoU: by hand and as MONAI defines them."""

import numpy as np
import pytest

from medssm.metrics.masks import MaskPair
from medssm.metrics.overlap import dice, iou


def test_overlap_of_a_case_counted_by_hand():
    reference, prediction = np.zeros((2, 4, 4), dtype=bool)
    reference[0, :4] = True
    prediction[0, 1:4] = prediction[1, :2] = True
    pair = MaskPair(reference, prediction, (1.0, 1.0))
    assert (pair.true_positive, pair.false_positive, pair.false_negative) == (3, 2, 1)
    assert (dice(pair), iou(pair)) == (pytest.approx(6 / 9), pytest.approx(3 / 6))


def test_overlap_equals_monai():
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_dice, compute_iou

    rng = np.random.default_rng(0)
    reference, prediction = rng.random((2, 9, 8, 7)) > 0.6
    pair = MaskPair(reference, prediction, (1.0, 1.0, 1.0))
    theirs = [torch.from_numpy(each)[None, None].float() for each in (prediction, reference)]
    assert dice(pair) == pytest.approx(float(compute_dice(*theirs, ignore_empty=False)), abs=1e-6)
    assert iou(pair) == pytest.approx(float(compute_iou(*theirs, ignore_empty=False)), abs=1e-6)
