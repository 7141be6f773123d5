"""nnU-Net's training transforms, and its rules for rotation, mirroring and the cut before them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from medssm.fields.segmentation.plan_file import Plan

# beyond this ratio of patch edges nnU-Net turns slice by slice
_ANISOTROPIC = 3
_LONG_2D = 1.5
_ZOOM = (0.85, 1.25)


@dataclass(frozen=True)
class AugmentationRules:
    """What the shape of a patch decides.

    Args:
        rotation_rad: Range of angles.
        slice_wise: Turn and scale slices, not the volume.
        mirror_axes: Spatial axes that may be mirrored.
        initial_patch_size: What to cut, so that turning shows no corners.
    """

    rotation_rad: tuple[float, float]
    slice_wise: bool
    mirror_axes: tuple[int, ...]
    initial_patch_size: tuple[int, ...]


def augmentation_rules(plan: Plan) -> AugmentationRules:
    """nnU-Net's choice of rotation and mirroring for a plan.

    Source:
        nnU-Net v2.8, trainer.
    """
    patch = plan.patch_size
    slice_wise = False
    if plan.spatial_dims == 2:
        degrees = 15.0 if max(patch) / min(patch) > _LONG_2D else 180.0
    else:
        slice_wise = max(patch) / patch[0] > _ANISOTROPIC
        degrees = 180.0 if slice_wise else 30.0
    angle = float(np.deg2rad(degrees))
    rotation = (-angle, angle)
    initial = get_patch_size(patch, rotation, rotation, rotation, _ZOOM)
    if slice_wise:
        initial[0] = patch[0]
    return AugmentationRules(
        rotation, slice_wise, tuple(range(len(patch))), tuple(int(size) for size in initial)
    )


def training_transforms(plan: Plan, mirror: bool = True) -> Callable[..., dict[str, Any]]:
    """nnU-Net's training transforms: from the larger cut to an augmented patch.

    They draw from the global random states of numpy and torch.

    Args:
        plan: The plan.
        mirror: Whether to mirror at all.

    Returns:
        A callable ``(image=(C, *cut), segmentation=(1, *cut)) -> {"image", "segmentation"}`` of
        patch size; labels stay label values, regions and scales are the loss's affair.
    """
    rules = augmentation_rules(plan)
    transforms = nnUNetTrainer.get_training_transforms(
        plan.patch_size,
        rules.rotation_rad,
        None,
        rules.mirror_axes if mirror else (),
        rules.slice_wise,
        use_mask_for_norm=list(plan.settings.get("use_mask_for_norm", [False])),
        is_cascaded=False,
        foreground_labels=sorted(plan.labels.values - {0, plan.labels.ignore}),
        regions=None,
        ignore_label=plan.labels.ignore,
    )
    for transform in transforms.transforms:
        inner = getattr(transform, "transform", transform)
        if isinstance(inner, GaussianBlurTransform):
            # it would time two algorithms and take the faster: another sum on another day
            inner.benchmark = False
    return transforms
