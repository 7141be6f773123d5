"""The planner against stock nnU-Net, and what our memory model adds."""

import math
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner,
)
from nnunetv2.experiment_planning.experiment_planners.network_topology import (
    get_pool_and_conv_props,
)

from medssm.core.files import read_json, write_json
from medssm.fields.segmentation.nnunet.planner import MemoryModel, fit_patch, plan_dataset

# spacing and shape of a case, in array order: near isotropic, thick slices, thin stack, turned
SHAPES = {
    "isotropic": ((1.0, 1.0, 1.1), (120, 160, 140)),
    "thick slices": ((5.0, 0.78, 0.78), (40, 512, 512)),
    "few slices": ((10.0, 1.5, 1.5), (10, 216, 256)),
    "long axis last": ((0.5, 0.5, 4.0), (300, 320, 30)),
    "low resolution too": ((1.0, 0.7, 0.7), (400, 512, 512)),
}
DECIDED_ELSEWHERE = {"patch_size", "batch_size", "architecture", "data_identifier"}


def fingerprint_of(name: str, template: dict[str, Any]) -> dict[str, Any]:
    spacing, shape = SHAPES[name]
    cases = range(4)
    return template | {
        "spacings": [[each * (1 + 0.05 * case) for each in spacing] for case in cases],
        "shapes_after_crop": [[size + case for size in shape] for case in cases],
    }


def models(gigabytes: float, **more: Any) -> dict[int, MemoryModel]:
    return {dims: MemoryModel(1e6, 2000.0, gigabytes * 2**30, **more) for dims in (2, 3)}


@pytest.mark.parametrize("name", SHAPES)
def test_spacing_normalisation_and_resampling_are_stock(
    planned, stock_roots: Path, name: str
) -> None:
    template = read_json(planned.workspace.preprocessed / "dataset_fingerprint.json")
    fingerprint = fingerprint_of(name, template)
    write_json(stock_roots / "dataset_fingerprint.json", fingerprint)
    stock = ExperimentPlanner(planned.manifest.name).plan_experiment()
    ours = plan_dataset(planned.manifest, fingerprint, "ours", models(8))
    assert {"2d", "3d_fullres"} <= ours["configurations"].keys()
    for configuration in ("2d", "3d_fullres"):
        left, right = (each["configurations"][configuration] for each in (ours, stock))
        for key in right.keys() - DECIDED_ELSEWHERE - {"batch_dice"}:
            assert left[key] == right[key], key
    for key in ("transpose_forward", "transpose_backward", "image_reader_writer"):
        assert ours[key] == stock[key]


@pytest.mark.parametrize("name", SHAPES)
def test_topology_follows_stock_rules_for_our_patch(planned, name: str) -> None:
    template = read_json(planned.workspace.preprocessed / "dataset_fingerprint.json")
    plans = plan_dataset(planned.manifest, fingerprint_of(name, template), "ours", models(2))
    for configuration in ("2d", "3d_fullres"):
        made = plans["configurations"][configuration]
        _, strides, kernels, patch, _ = get_pool_and_conv_props(
            made["spacing"], made["patch_size"], 4, 999999
        )
        arguments = made["architecture"]["arch_kwargs"]
        assert [tuple(each) for each in strides] == [tuple(each) for each in arguments["strides"]]
        found = [tuple(each) for each in arguments["kernel_sizes"]]
        assert [tuple(each) for each in kernels] == found
        assert list(patch) == list(made["patch_size"])


@pytest.mark.parametrize("name", SHAPES)
def test_patches_fit_our_network_and_the_stock_one(planned, name: str) -> None:
    template = read_json(planned.workspace.preprocessed / "dataset_fingerprint.json")
    by_dims = {dims: MemoryModel(0, 2000.0, 2**31, None, (8,) * dims) for dims in (2, 3)}
    plans = plan_dataset(planned.manifest, fingerprint_of(name, template), "ours", by_dims)
    for configuration in ("2d", "3d_fullres"):
        made = plans["configurations"][configuration]
        for axis, size in enumerate(made["patch_size"]):
            strides = made["architecture"]["arch_kwargs"]["strides"]
            assert size % 8 == 0
            assert size % math.prod(stride[axis] for stride in strides) == 0


def test_a_training_step_stays_within_its_memory(planned) -> None:
    template = read_json(planned.workspace.preprocessed / "dataset_fingerprint.json")
    fingerprint = fingerprint_of("isotropic", template)
    voxels = []
    for gigabytes in (0.5, 2, 8):
        limits = models(gigabytes)
        plans = plan_dataset(planned.manifest, fingerprint, "ours", limits)
        made = plans["configurations"]["3d_fullres"]
        voxels.append(math.prod(made["patch_size"]) * made["batch_size"])
        model = limits[3]
        assert model.fixed_bytes + voxels[-1] * model.bytes_per_voxel <= model.target_bytes * 1.25
    assert voxels[0] < voxels[1] < voxels[2]


def test_the_largest_patch_is_kept() -> None:
    model = MemoryModel(0, 1.0, 1e12, max_voxels=40 * 56 * 40)
    assert fit_patch([36, 50, 36], [8, 8, 8], model) == [40, 56, 40]
    assert math.prod(fit_patch([44, 56, 40], [8, 8, 8], model)) <= 40 * 56 * 40
