"""From logits on the plan's grid to labels on the scanner's own grid, a class at a time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medssm.core.errors import BadDataError
from medssm.fields.segmentation.nnunet.preprocessing import run_case
from medssm.fields.segmentation.plan_file import Plan

# where the properties of a case remember the file whose header a label map takes over
SOURCE = "medssm_source"


class Logits(Protocol):
    """Logits that are looked at one class after the other."""

    def __len__(self) -> int:
        """How many classes."""

    def __getitem__(self, index: int) -> Any:
        """The logits of one class, (*S)."""


def preprocess_image(files: Sequence[Path], plan: Plan) -> tuple[np.ndarray, dict[str, Any]]:
    """Read and preprocess an image to predict.

    Args:
        files: One file a channel.
        plan: The model's plan.

    Returns:
        Image (C, *S) float32 on the plan's grid, and the properties that lead back.

    Raises:
        BadDataError: A file cannot be read, or the number of channels differs from the model's.
    """
    try:
        image, _, properties = run_case(files, None, plan)
    except (RuntimeError, ValueError, OSError, AssertionError) as error:
        raise BadDataError(f"{files[0]}: could not be read or preprocessed: {error}") from error
    if len(image) != plan.num_channels:
        raise BadDataError(
            f"{files[0]}: {len(image)} channels. Expected {plan.num_channels}, as in training."
        )
    properties[SOURCE] = str(files[0])
    return image, properties


def restore_class(
    logits: Logits, index: int, properties: Mapping[str, Any], plan: Plan
) -> tuple[np.ndarray, np.ndarray]:
    """Bring the logits of one class to the image's own grid.

    Returns:
        Logits (*input grid) float32, and where they are known: inside of the box that
        preprocessing cropped to.
    """
    cropped = _resample(np.asarray(logits[index], dtype=np.float32), properties, plan)
    full = np.zeros(tuple(properties["shape_before_cropping"]), dtype=np.float32)
    inside = np.zeros(full.shape, dtype=bool)
    box = _box(properties)
    full[box] = cropped
    inside[box] = True
    back = plan.plans["transpose_backward"]
    return full.transpose(back), inside.transpose(back)


def restore_label(logits: Logits, properties: Mapping[str, Any], plan: Plan) -> np.ndarray:
    """Turn logits into a label map on the image's own grid, in memory that ignores the classes.

    Args:
        logits: (K, *S) on the plan's grid.
        properties: What preprocessing noted.
        plan: The model's plan.

    Returns:
        (*input grid), uint8 or uint16.

    Source:
        nnU-Net v2, export of predictions: the arg max of resampled logits, regions painted in
        their declared order.
    """
    dtype = np.uint8 if max(plan.labels.values) < 255 else np.uint16
    cropped = (
        _paint_regions(logits, properties, plan, dtype)
        if plan.labels.has_regions
        else _running_maximum(logits, properties, plan, dtype)
    )
    full = np.zeros(tuple(properties["shape_before_cropping"]), dtype=dtype)
    full[_box(properties)] = cropped
    return np.ascontiguousarray(full.transpose(plan.plans["transpose_backward"]))


def _running_maximum(
    logits: Logits, properties: Mapping[str, Any], plan: Plan, dtype: Any
) -> np.ndarray:
    best = _resample(np.asarray(logits[0], dtype=np.float32), properties, plan)
    label = np.zeros(best.shape, dtype=dtype)
    for index in range(1, len(logits)):
        scores = _resample(np.asarray(logits[index], dtype=np.float32), properties, plan)
        higher = scores > best
        best[higher] = scores[higher]
        label[higher] = index
    return label


def _paint_regions(
    logits: Logits, properties: Mapping[str, Any], plan: Plan, dtype: Any
) -> np.ndarray:
    label: np.ndarray | None = None
    for index, value in enumerate(plan.labels.regions_class_order or ()):
        scores = _resample(np.asarray(logits[index], dtype=np.float32), properties, plan)
        if label is None:
            label = np.zeros(scores.shape, dtype=dtype)
        # a logit above zero is a probability above one half
        label[scores > 0] = value
    assert label is not None
    return label


def _resample(scores: np.ndarray, properties: Mapping[str, Any], plan: Plan) -> np.ndarray:
    manager = PlansManager(dict(plan.plans))
    configuration = manager.get_configuration(plan.configuration)
    shape = properties["shape_after_cropping_and_before_resampling"]
    original = [properties["spacing"][axis] for axis in manager.transpose_forward]
    current = list(configuration.spacing)
    if len(current) < len(shape):
        # a 2D plan leaves the distance of slices alone
        current = [original[0], *current]
    resampled = configuration.resampling_fn_probabilities(scores[None], shape, current, original)
    return np.asarray(resampled[0], dtype=np.float32)


def _box(properties: Mapping[str, Any]) -> tuple[slice, ...]:
    return tuple(slice(int(low), int(high)) for low, high in properties["bbox_used_for_cropping"])


def write_label(label: np.ndarray, path: Path, properties: Mapping[str, Any], plan: Plan) -> None:
    """Write a label map with the geometry of its image.

    A NIfTI takes over the whole header of the image (affine, qform and sform codes, units); other
    formats are written by nnU-Net's reader of the model.

    Args:
        label: (*input grid) in array order (z, y, x).
        path: The file to write, its ending decides the format.
        properties: What preprocessing noted, with the image's file.
        plan: The model's plan.
    """
    source = str(properties.get(SOURCE, ""))
    # a reader that turns the image on reading must also turn the label back
    turned = "Reorient" in str(plan.plans.get("image_reader_writer", ""))
    endings = (".nii", ".nii.gz")
    if path.name.endswith(endings) and source.endswith(endings) and not turned:
        _write_nifti(label, path, source)
        return
    writer = PlansManager(dict(plan.plans)).image_reader_writer_class()
    writer.write_seg(label, str(path), dict(properties))


def _write_nifti(label: np.ndarray, path: Path, source: str) -> None:
    reference = nibabel.load(source)
    voxels = label.transpose(tuple(reversed(range(label.ndim))))
    header = reference.header.copy()
    header.set_data_dtype(label.dtype)
    header["scl_slope"], header["scl_inter"] = np.nan, np.nan
    header["cal_min"] = header["cal_max"] = 0
    voxels = voxels.reshape(reference.shape)
    image = type(reference)(np.ascontiguousarray(voxels), None, header)
    nibabel.save(image, path)
