"""The empty-mask policy for every measure, and masks that do not fit together."""

import numpy as np
import pytest

from medssm.core.errors import BadArgumentError
from medssm.metrics import METRICS
from medssm.metrics.masks import MaskPair

EMPTY = np.zeros((6, 8), dtype=bool)
SOME = EMPTY.copy()
SOME[2:4, 3:6] = True
DIAGONAL_MM = float(np.hypot(6 * 0.5, 8 * 2.0))


@pytest.mark.parametrize(
    ("reference", "prediction", "verdict", "ratio", "hd95"),
    [
        (EMPTY, EMPTY, "both_empty", 1.0, 0.0),
        (SOME, EMPTY, "miss", 0.0, DIAGONAL_MM),
        (EMPTY, SOME, "false", 0.0, DIAGONAL_MM),
    ],
)
def test_empty_masks_are_scored_as_the_policy_says(reference, prediction, verdict, ratio, hd95):
    pair = MaskPair(reference, prediction, (0.5, 2.0))
    assert pair.verdict == verdict
    for name in ("dice", "iou", "nsd"):
        assert METRICS.load(name).value(pair) == ratio
    assert METRICS.load("hd95").value(pair) == pytest.approx(hd95)


def test_the_diagonal_is_that_of_the_image_and_not_of_the_cut_out():
    pair = MaskPair(SOME, EMPTY, (1.0, 1.0), image_shape=(30, 40))
    assert METRICS.load("hd95").value(pair) == 50.0


def test_volumes_are_in_millilitres():
    reference, prediction = np.zeros((2, 10, 10, 10), dtype=bool)
    reference[:5], prediction[:4] = True, True
    pair = MaskPair(reference, prediction, (2.0, 1.0, 1.0))
    assert METRICS.load("volume_reference").value(pair) == 1.0
    assert METRICS.load("volume_difference").value(pair) == pytest.approx(-0.2)


def test_every_measure_says_what_it_is():
    for name in METRICS:
        metric = METRICS.load(name)
        assert metric.definition.endswith(".")
        assert set(metric.spatial_dims) <= {2, 3}
    keys = [METRICS.load(name).key for name in METRICS]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("reference", "prediction", "spacing"),
    [
        (SOME, SOME[1:], (1.0, 1.0)),
        (SOME, SOME, (1.0, 1.0, 1.0)),
        (SOME.astype(int), SOME, (1.0, 1.0)),
        (SOME, SOME, (0.0, 1.0)),
    ],
)
def test_masks_that_do_not_fit_are_refused(reference, prediction, spacing):
    with pytest.raises(BadArgumentError):
        MaskPair(reference, prediction, spacing)
