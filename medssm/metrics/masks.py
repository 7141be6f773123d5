"""A reference mask and a predicted mask of one structure: what every measure is computed from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medssm.core.errors import BadArgumentError
from medssm.metrics.surfels import SurfaceDistances, surface_distances

Mask = NDArray[np.bool_]
Verdict = Literal["present", "both_empty", "miss", "false"]

# said beside the numbers wherever they are shown
EMPTY_MASK_POLICY = (
    "Both masks empty: Dice, IoU and NSD are 1 and HD95 is 0 mm, counted apart. Only one of them "
    "empty: Dice, IoU and NSD are 0 and HD95 is the diagonal of the image in mm; counted as a "
    "miss (the prediction is empty) or as a false detection (the reference is empty)."
)


@dataclass(frozen=True)
class MaskPair:
    """Two masks of one structure on one grid.

    Args:
        reference: The true mask, or the part of it around both masks.
        prediction: The predicted mask over the same voxels.
        spacing_mm: Size of a voxel, in array order.
        tolerance_mm: How far a surface may be off for the surface Dice.
        image_shape: Shape of the whole image where the masks are a cut-out; else their shape.

    Shape:
        reference, prediction: (Y, X) or (Z, Y, X).

    Raises:
        BadArgumentError: Shapes or spacing do not fit, or a mask is not boolean.
    """

    reference: Mask
    prediction: Mask
    spacing_mm: tuple[float, ...]
    tolerance_mm: float = 1.0
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        shape = self.reference.shape
        if shape != self.prediction.shape or len(shape) != len(self.spacing_mm):
            raise BadArgumentError(
                f"a reference of shape {shape}, a prediction of shape {self.prediction.shape} and "
                f"{len(self.spacing_mm)} spacings do not fit together; give two masks of one shape "
                "and one spacing per axis."
            )
        if self.reference.dtype != np.bool_ or self.prediction.dtype != np.bool_:
            raise BadArgumentError(
                f"masks must be boolean; got {self.reference.dtype} and {self.prediction.dtype}. "
                "Take labels == value."
            )
        if len(shape) not in (2, 3):
            raise BadArgumentError(f"masks have {len(shape)} axes; expected 2 or 3.")
        if min(self.spacing_mm) <= 0 or self.tolerance_mm < 0:
            raise BadArgumentError(
                f"spacing {self.spacing_mm} mm must be above 0 and tolerance {self.tolerance_mm} "
                "mm not below 0."
            )

    @cached_property
    def true_positive(self) -> int:
        """Voxels in both masks."""
        return int(np.count_nonzero(self.reference & self.prediction))

    @cached_property
    def reference_voxels(self) -> int:
        """Voxels of the reference."""
        return int(np.count_nonzero(self.reference))

    @cached_property
    def predicted_voxels(self) -> int:
        """Voxels of the prediction."""
        return int(np.count_nonzero(self.prediction))

    @property
    def false_positive(self) -> int:
        """Voxels of the prediction alone."""
        return self.predicted_voxels - self.true_positive

    @property
    def false_negative(self) -> int:
        """Voxels of the reference alone."""
        return self.reference_voxels - self.true_positive

    @property
    def verdict(self) -> Verdict:
        """Which of the masks holds anything at all."""
        if self.reference_voxels:
            return "present" if self.predicted_voxels else "miss"
        return "false" if self.predicted_voxels else "both_empty"

    @property
    def voxel_mm(self) -> float:
        """Volume of a voxel in cubic mm (3D) or area of a pixel in square mm (2D)."""
        return math.prod(self.spacing_mm)

    @property
    def diagonal_mm(self) -> float:
        """Length of the image's diagonal, the distance given to a mask that has no partner."""
        shape = self.image_shape or self.reference.shape
        return math.hypot(*(n * s for n, s in zip(shape, self.spacing_mm, strict=True)))

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Distances between the two surfaces; computed once for all measures that use them."""
        return surface_distances(self.reference, self.prediction, self.spacing_mm)


@dataclass(frozen=True)
class Metric:
    """One measure: its value for a pair of masks and all that is said about it.

    Args:
        key: Its name in summary.json and in tables, e.g. "HD95_mm".
        title: Its name for a reader.
        unit: Unit of the value, "" for a ratio.
        better: Whether more or less of it is better.
        definition: One sentence that a reader can check the number against.
        value: The measure itself.
        spatial_dims: For images of how many axes it is defined.
        convention: Computed only where the convention of some papers is asked for.
    """

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    definition: str
    value: Callable[[MaskPair], float]
    spatial_dims: tuple[int, ...] = (2, 3)
    convention: str | None = None
