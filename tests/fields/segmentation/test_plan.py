"""Promises of planning: checked data, everything beside the plan, nothing done twice."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, write_json
from medssm.data.manifest import read_manifest
from medssm.data.splits import make_splits
from medssm.fields.segmentation import memory, train
from medssm.fields.segmentation.plan import PlanConfig, plan
from tests.fields.segmentation.conftest import NETWORK

CONFIG = PlanConfig(workers=2)


def test_all_that_stock_nnunet_looks_for_is_written(planned) -> None:
    folder = planned.workspace.preprocessed
    for name in ("dataset.json", "dataset_fingerprint.json", "medssmPlans.json"):
        assert (folder / name).is_file()
    assert read_json(folder / "splits_final.json") == make_splits(planned.manifest)


def test_our_facts_travel_under_one_key(planned) -> None:
    ours = planned.plan.plans["medssm"]
    assert ours["network"] == NETWORK
    assert ours["skipped"] == []
    assert ours["memory"]["3"]["bytes_per_voxel"] > 0
    assert "PlainConvUNet" in planned.plan.settings["architecture"]["network_class_name"]


def test_a_plan_that_fits_its_inputs_is_left_alone(own_plan) -> None:
    file = own_plan.workspace.plans_file("medssmPlans")
    before = file.stat().st_mtime_ns
    again = plan(CONFIG, NETWORK, own_plan.manifest, own_plan.workspace)
    assert file.stat().st_mtime_ns == before
    assert again.plans == own_plan.plan.plans


def test_a_changed_input_is_planned_again(own_plan) -> None:
    label = own_plan.manifest.cases["c0"].label
    image = nibabel.load(label)
    voxels = np.asarray(image.dataobj).copy()
    voxels[voxels == 2] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine, image.header), label)
    again = plan(CONFIG, NETWORK, own_plan.manifest, own_plan.workspace)
    assert again.plans["medssm"]["inputs"] != own_plan.plan.plans["medssm"]["inputs"]


def test_folds_that_a_user_wrote_beside_the_plan_stay_and_those_of_the_raw_set_win(
    own_plan,
) -> None:
    beside = own_plan.workspace.preprocessed / "splits_final.json"
    names = sorted(own_plan.manifest.cases)
    mine = [{"train": names[1:], "val": names[:1]}]
    write_json(beside, mine)
    plan(replace(CONFIG, force=True), NETWORK, own_plan.manifest, own_plan.workspace)
    assert read_json(beside) == mine
    write_json(own_plan.manifest.folder / "splits_final.json", mine[::-1] * 2)
    plan(CONFIG, NETWORK, own_plan.manifest, own_plan.workspace)
    assert read_json(beside) == mine * 2


def test_a_configuration_that_no_planner_makes_is_answered_before_the_work(own_plan) -> None:
    config = replace(CONFIG, configuration="3d_fulres", force=True)
    with pytest.raises(UsageError, match="did you mean '3d_fullres'"):
        plan(config, NETWORK, own_plan.manifest, own_plan.workspace)


def test_a_cut_image_is_refused_by_name_and_left_out_on_request(own_plan) -> None:
    image = own_plan.manifest.cases["c1"].images[0]
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    manifest = read_manifest(own_plan.manifest.folder)
    with pytest.raises(BadDataError, match="c1"):
        plan(CONFIG, NETWORK, manifest, own_plan.workspace)
    made = plan(replace(CONFIG, skip_bad=True), NETWORK, manifest, own_plan.workspace)
    assert made.plans["medssm"]["skipped"] == ["c1"]
    splits = read_json(own_plan.workspace.preprocessed / "splits_final.json")
    assert all("c1" not in [*split["train"], *split["val"]] for split in splits)


def test_a_budget_is_planned_for_whatever_memory_the_planning_machine_has(planned) -> None:
    config = replace(CONFIG, memory_gb=20.4)
    models = memory.memory_models(NETWORK, planned.manifest, config)
    assert {model.target_bytes for model in models.values()} == {20.4 * 2**30}


def test_a_training_on_a_gpu_says_that_its_plan_was_measured_without_one(
    planned, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("medssm.core.log.LOGGER.propagate", True)
    caplog.set_level("INFO", logger="medssm")
    config = train.TrainConfig(NETWORK)
    assert planned.plan.plans["medssm"]["measured_on"] == memory.measuring_device()
    plans = {**planned.plan.plans, "medssm": {"measured_on": "cpu"}}
    for device, told in (("cpu", False), ("gpu", True)):
        monkeypatch.setattr(train, "chosen_accelerator", lambda _, device=device: device)
        train._tell_of_measure(config, replace(planned.plan, plans=plans))
        assert ("made without a GPU" in caplog.text) == told
