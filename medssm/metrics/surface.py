"""How far apart two surfaces are: HD95 in mm and the surface Dice at a tolerance (NSD)."""

import numpy as np
from numpy.typing import NDArray

from medssm.metrics.masks import MaskPair, Metric

Values = NDArray[np.float64]


def hausdorff_95(pair: MaskPair) -> float:
    """95th percentile of the distance between the surfaces, weighted by area.

    Units:
        mm.

    Source:
        Nikolov et al. (2018), robust Hausdorff distance with surface elements.
    """
    if pair.verdict == "both_empty":
        return 0.0
    if pair.verdict != "present":
        return pair.diagonal_mm
    found = pair.distances
    return max(
        _weighted_percentile(found.reference_mm, found.reference_area, 0.95),
        _weighted_percentile(found.prediction_mm, found.prediction_area, 0.95),
    )


def _weighted_percentile(distances_mm: Values, areas: Values, share: float) -> float:
    """The distance below which that share of the area lies."""
    order = np.argsort(distances_mm, kind="stable")
    cumulative = np.cumsum(areas[order])
    place = int(np.searchsorted(cumulative / cumulative[-1], share))
    return float(distances_mm[order[min(place, len(order) - 1)]])


def surface_dice(pair: MaskPair) -> float:
    """Share of both surfaces that lies within the tolerance of the other surface.

    Source:
        Nikolov et al. (2018), surface Dice at a tolerance (NSD).
    """
    if pair.verdict == "both_empty":
        return 1.0
    if pair.verdict != "present":
        return 0.0
    found = pair.distances
    near = sum(
        float(areas[distances <= pair.tolerance_mm].sum())
        for distances, areas in (
            (found.reference_mm, found.reference_area),
            (found.prediction_mm, found.prediction_area),
        )
    )
    return near / float(found.reference_area.sum() + found.prediction_area.sum())


HD95 = Metric(
    key="HD95_mm",
    title="HD95",
    unit="mm",
    better="lower",
    definition=(
        "The larger of the two directed 95th percentiles of the distance from one surface to the "
        "other; surfaces are marching-cubes elements between the voxels, the percentile is "
        "weighted by their area."
    ),
    value=hausdorff_95,
)
NSD = Metric(
    key="NSD",
    title="Surface Dice",
    unit="",
    better="higher",
    definition=(
        "Area of both surfaces that lies within the tolerance of the other surface, over the area "
        "of both surfaces (normalised surface Dice)."
    ),
    value=surface_dice,
)
