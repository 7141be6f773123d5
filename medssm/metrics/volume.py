"""How much there is: volumes in ml (3D) and areas in square mm (2D), and their difference."""

from medssm.metrics.masks import MaskPair, Metric

CUBIC_MM_PER_ML = 1000.0


def reference_ml(pair: MaskPair) -> float:
    """Volume of the reference in ml."""
    return pair.reference_voxels * pair.voxel_mm / CUBIC_MM_PER_ML


def predicted_ml(pair: MaskPair) -> float:
    """Volume of the prediction in ml."""
    return pair.predicted_voxels * pair.voxel_mm / CUBIC_MM_PER_ML


def difference_ml(pair: MaskPair) -> float:
    """Predicted volume less the true volume, in ml."""
    return (pair.predicted_voxels - pair.reference_voxels) * pair.voxel_mm / CUBIC_MM_PER_ML


def reference_mm2(pair: MaskPair) -> float:
    """Area of the reference in square mm."""
    return pair.reference_voxels * pair.voxel_mm


def predicted_mm2(pair: MaskPair) -> float:
    """Area of the prediction in square mm."""
    return pair.predicted_voxels * pair.voxel_mm


def difference_mm2(pair: MaskPair) -> float:
    """Predicted area less the true area, in square mm."""
    return (pair.predicted_voxels - pair.reference_voxels) * pair.voxel_mm


VOLUME_REFERENCE = Metric(
    key="Volume_ref_ml",
    title="Reference volume",
    unit="ml",
    better="neither",
    definition="Voxels of the reference times the volume of a voxel.",
    value=reference_ml,
    spatial_dims=(3,),
)
VOLUME_PREDICTION = Metric(
    key="Volume_pred_ml",
    title="Predicted volume",
    unit="ml",
    better="neither",
    definition="Voxels of the prediction times the volume of a voxel.",
    value=predicted_ml,
    spatial_dims=(3,),
)
VOLUME_DIFFERENCE = Metric(
    key="Volume_difference_ml",
    title="Volume difference",
    unit="ml",
    better="neither",
    definition="Predicted volume less reference volume: above 0 is too much.",
    value=difference_ml,
    spatial_dims=(3,),
)
AREA_REFERENCE = Metric(
    key="Area_ref_mm2",
    title="Reference area",
    unit="mm²",
    better="neither",
    definition="Pixels of the reference times the area of a pixel.",
    value=reference_mm2,
    spatial_dims=(2,),
)
AREA_PREDICTION = Metric(
    key="Area_pred_mm2",
    title="Predicted area",
    unit="mm²",
    better="neither",
    definition="Pixels of the prediction times the area of a pixel.",
    value=predicted_mm2,
    spatial_dims=(2,),
)
AREA_DIFFERENCE = Metric(
    key="Area_difference_mm2",
    title="Area difference",
    unit="mm²",
    better="neither",
    definition="Predicted area less reference area: above 0 is too much.",
    value=difference_mm2,
    spatial_dims=(2,),
)
