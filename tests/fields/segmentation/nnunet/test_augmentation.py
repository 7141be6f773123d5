"""Augmentation by nnU-Net's rules."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from medssm.fields.segmentation.nnunet.augmentation import augmentation_rules, training_transforms


def with_patch(plan, patch: list[int]):
    settings = {**plan.settings, "patch_size": patch}
    configurations = {**plan.plans["configurations"], plan.configuration: settings}
    return replace(plan, plans={**plan.plans, "configurations": configurations})


@pytest.mark.parametrize("patch", [[40, 56, 40], [16, 320, 256], [64, 64], [256, 64], [128, 96, 8]])
def test_rules_are_those_of_the_stock_trainer(planned, patch: list[int]) -> None:
    stand_in = SimpleNamespace(
        configuration_manager=SimpleNamespace(patch_size=patch),
        print_to_log_file=lambda *_, **__: None,
    )
    choose = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size
    rotation, slice_wise, initial, mirror = choose(stand_in)
    rules = augmentation_rules(with_patch(planned.plan, patch))
    assert rules.rotation_rad == pytest.approx(rotation)
    assert rules.slice_wise == slice_wise
    assert rules.initial_patch_size == tuple(int(size) for size in initial)
    assert rules.mirror_axes == mirror


def test_a_seed_decides_the_patch_and_its_label(planned) -> None:
    plan = with_patch(planned.plan, [8, 24, 24])
    cut = augmentation_rules(plan).initial_patch_size
    rng = np.random.default_rng(0)
    image = torch.as_tensor(rng.normal(size=(2, *cut)).astype(np.float32))
    label = torch.as_tensor(rng.integers(-1, 3, size=(1, *cut)).astype(np.int16))
    transforms = training_transforms(plan)

    def draw(seed: int) -> dict[str, torch.Tensor]:
        # the transforms draw from numpy's global state
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        return transforms(image=image.clone(), segmentation=label.clone())

    first, again, other = draw(1), draw(1), draw(2)
    assert first["image"].shape == (2, 8, 24, 24)
    assert first["segmentation"].shape == (1, 8, 24, 24)
    torch.testing.assert_close(first["image"], again["image"], rtol=0, atol=0)
    assert not torch.equal(first["image"], other["image"])
    # the -1 outside of the crop becomes background
    assert set(first["segmentation"].unique().tolist()) <= {0, 1, 2}
