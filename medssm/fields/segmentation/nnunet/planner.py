"""nnU-Net's planner with our memory model: its rules of spacing and topology, our bytes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner,
)

from medssm.data.manifest import Manifest
from medssm.fields.segmentation.nnunet.staging import muted, staged

# nnU-Net divides its estimate by a reference batch; these undo that, so that both sides are bytes
_REFERENCE_BATCH = {2: 12, 3: 2}


@dataclass(frozen=True)
class MemoryModel:
    """Peak bytes of a training step: fixed + batch * voxels * each.

    Args:
        fixed_bytes: Weights, gradients, optimiser state.
        bytes_per_voxel: Activations kept for the backward pass, of one patch.
        target_bytes: What a step may take.
        max_voxels: Most voxels of a patch (None: as memory allows); keeps a CPU's step short.
        divisors: What each edge of a patch must be a multiple of for our network; () for anything.
    """

    fixed_bytes: float
    bytes_per_voxel: float
    target_bytes: float
    max_voxels: int | None = None
    divisors: tuple[int, ...] = ()

    def patch_bytes(self, voxels: float) -> float:
        """Bytes that one patch of a batch takes, infinite beyond the largest patch."""
        if self.max_voxels is not None and voxels > self.max_voxels:
            return float("inf")
        return self.bytes_per_voxel * voxels

    def holds(self, patch: Sequence[int]) -> bool:
        """Whether a batch of two such patches fits."""
        return 2 * self.patch_bytes(math.prod(patch)) <= self.available_bytes

    @property
    def available_bytes(self) -> float:
        """What is left for activations."""
        return max(1.0, self.target_bytes - self.fixed_bytes)


class Planner(ExperimentPlanner):
    """Stock rules 1 to 6 and 8 to 12; the estimate of rule 7 is a measured memory model."""

    def __init__(
        self,
        dataset: str,
        plans_name: str,
        models: Mapping[int, MemoryModel],
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        spacing = None if spacing_mm is None else list(spacing_mm)
        super().__init__(dataset, plans_name=plans_name, overwrite_target_spacing=spacing)
        self._models = models
        self.UNet_vram_target_GB = self.UNet_reference_val_corresp_GB
        self.UNet_reference_val_3d = models[3].available_bytes
        self.UNet_reference_val_2d = models[2].available_bytes
        # the stock class calls a static method through the instance: shadow it there
        self.static_estimate_VRAM_usage: Callable[..., float] = self._estimate

    def _estimate(self, patch_size: Any, *_: Any) -> float:
        voxels = 1.0
        for size in patch_size:
            voxels *= float(size)
        dims = len(patch_size)
        # an infinite estimate would give a batch of 0/0 later; far above any target is enough
        estimate = self._models[dims].patch_bytes(voxels)
        return min(estimate, 1e18) * _REFERENCE_BATCH[dims]

    def get_plans_for_configuration(self, spacing: Any, *arguments: Any) -> dict[str, Any]:
        """The stock decision, then a patch that our network takes too and its batch."""
        made: dict[str, Any] = super().get_plans_for_configuration(spacing, *arguments)
        model = self._models[len(spacing)]
        if not model.divisors:
            return made
        strides = made["architecture"]["arch_kwargs"]["strides"]
        pooled = [
            math.prod(int(stride[axis]) for stride in strides) for axis in range(len(spacing))
        ]
        steps = [math.lcm(*each) for each in zip(pooled, model.divisors, strict=True)]
        patch = fit_patch([int(size) for size in made["patch_size"]], steps, model)
        most = int(model.available_bytes // (model.bytes_per_voxel * math.prod(patch)))
        made["patch_size"] = patch
        made["batch_size"] = max(self.UNet_min_batch_size, min(int(made["batch_size"]), most))
        return made


def fit_patch(patch: Sequence[int], steps: Sequence[int], model: MemoryModel) -> list[int]:
    """The smallest patch of whole steps around a patch, made smaller where memory asks for it.

    Args:
        patch: As stock nnU-Net chose it.
        steps: What each edge must be a multiple of.
        model: Says what fits; one step an axis is always allowed.
    """
    fitted = [-(-size // step) * step for size, step in zip(patch, steps, strict=True)]
    while not model.holds(fitted):
        # the axis that was rounded up most, for its length, gives way first
        candidates = [axis for axis, step in enumerate(steps) if fitted[axis] > step]
        if not candidates:
            break
        axis = max(candidates, key=lambda each: (fitted[each] / patch[each], fitted[each]))
        fitted[axis] -= steps[axis]
    return fitted


def plan_dataset(
    manifest: Manifest,
    fingerprint: Mapping[str, Any],
    plans_name: str,
    models: Mapping[int, MemoryModel],
    *,
    spacing_mm: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Decide spacing, patch, batch and normalisation of every configuration.

    Args:
        manifest: The data set.
        fingerprint: As `extract_fingerprint` measured it.
        plans_name: Name of the plans file.
        models: Memory model of 2D and of 3D patches.
        spacing_mm: Target spacing in array order; None takes nnU-Net's choice.

    Returns:
        nnU-Net's plans JSON, which stock nnU-Net reads too.
    """
    with staged(manifest, fingerprint), muted():
        planner = Planner(manifest.name, plans_name, models, spacing_mm)
        plans: dict[str, Any] = planner.plan_experiment()
    return plans
