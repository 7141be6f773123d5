"""A plan of nnU-Net with one of our networks in the place of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medssm.fields.segmentation.nnunet.planner import MemoryModel, fit_patch
from medssm.fields.segmentation.plan_file import OURS, Plan
from medssm.networks.nnunet import CLASS_PATH, SIZES, Precision

# as stock nnU-Net: no batch of one
_LEAST_BATCH = 2


@dataclass(frozen=True)
class Fitted:
    """Patch and batch of a configuration, as they were and as they fit our network."""

    configuration: str
    patch_before: tuple[int, ...]
    patch: tuple[int, ...]
    batch_before: int
    batch: int

    def line(self) -> str:
        """Both in words."""
        before, after = ("x".join(map(str, each)) for each in (self.patch_before, self.patch))
        patch = after if before == after else f"{after} (was {before})"
        batch = str(self.batch)
        if self.batch != self.batch_before:
            batch += f" (was {self.batch_before})"
        return f"{self.configuration}: patch {patch}, batch {batch}"


@dataclass(frozen=True)
class OurNetwork:
    """What goes into the plans.

    Args:
        network: Name and arguments.
        precision: Number format inside of the network.
        models: Memory model by number of spatial axes.
        strides: Rows of strides by number of spatial axes.
        batch_size: Patches of a step; None takes the plan's, less where memory asks for it.
    """

    network: Mapping[str, Any]
    precision: Precision
    models: Mapping[int, MemoryModel]
    strides: Mapping[int, list[list[int]]]
    batch_size: int | None = None

    def architecture(self, spatial_dims: int) -> dict[str, Any]:
        """The architecture of a configuration."""
        return architecture(self.network, self.strides[spatial_dims], self.precision)


def architecture(
    network: Mapping[str, Any], strides: Sequence[Sequence[int]], precision: Precision
) -> dict[str, Any]:
    """What `architecture` of a configuration says for one of our networks."""
    return {
        "network_class_name": CLASS_PATH,
        "arch_kwargs": {
            "network": own_arguments(network),
            "strides": [list(row) for row in strides],
            "precision": precision,
        },
        "_kw_requires_import": [],
    }


def own_arguments(network: Mapping[str, Any]) -> dict[str, Any]:
    """Name and arguments without the sizes of the data, which nnU-Net fills in."""
    return {k: v for k, v in network.items() if k not in SIZES and v is not None}


def with_network(
    plan: Plan, ours: OurNetwork, plans_name: str, configurations: Sequence[str]
) -> tuple[dict[str, Any], list[Fitted]]:
    """Put our network into configurations of a plan.

    Spacing, normalisation and the folder of the preprocessed cases stay, so that what is
    preprocessed is used as it is.

    Args:
        plan: Any configuration of a plan.
        ours: The network.
        plans_name: Name of the new plans.
        configurations: Which to take over; the others are left out.

    Returns:
        The plans JSON, and what changed.
    """
    changed, told = {}, []
    for name in configurations:
        whole = replace(plan, configuration=name)
        own = dict(plan.plans["configurations"][name])
        fitted = _fit(whole, ours)
        told.append(fitted)
        if "inherits_from" not in own or "architecture" in own:
            own["architecture"] = ours.architecture(whole.spatial_dims)
        for key, value in (("patch_size", list(fitted.patch)), ("batch_size", fitted.batch)):
            if key in own or "inherits_from" not in own:
                own[key] = value
        changed[name] = own
    plans = {key: value for key, value in plan.plans.items() if key != OURS}
    return {**plans, "plans_name": plans_name, "configurations": changed}, told


def _fit(plan: Plan, ours: OurNetwork) -> Fitted:
    model = ours.models[plan.spatial_dims]
    steps = model.divisors or (1,) * plan.spatial_dims
    patch = tuple(fit_patch(plan.patch_size, steps, model))
    voxels = 1
    for size in patch:
        voxels *= size
    most = int(model.available_bytes // (model.bytes_per_voxel * voxels))
    batch = ours.batch_size or max(_LEAST_BATCH, min(plan.batch_size, most))
    return Fitted(plan.configuration, plan.patch_size, patch, plan.batch_size, batch)
