"""Plans, ours and stock, read as facts."""

from pathlib import Path

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner,
)

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, write_json
from medssm.fields.segmentation.plan_file import read_plan


def test_a_stock_plan_is_read(planned, stock_roots: Path) -> None:
    fingerprint = read_json(planned.workspace.preprocessed / "dataset_fingerprint.json")
    write_json(stock_roots / "dataset_fingerprint.json", fingerprint)
    ExperimentPlanner(planned.manifest.name).plan_experiment()
    made = read_plan(stock_roots / "nnUNetPlans.json", "3d_fullres")
    assert made.plans_name == "nnUNetPlans"
    assert made.data_identifier == "nnUNetPlans_3d_fullres"
    assert made.spacing_mm == planned.plan.spacing_mm
    assert (made.num_channels, made.labels.num_outputs, made.spatial_dims) == (2, 3, 3)


def test_facts_hold_what_a_configuration_refers_to(planned_regions) -> None:
    facts = planned_regions.plan.facts()
    assert facts["num_channels"] == 2
    # one output a region, none for the background
    assert facts["num_outputs"] == 2
    assert facts["spatial_dims"] == len(facts["patch_size"]) == 3
    assert facts["configuration"] == "3d_fullres"


def test_an_inheriting_configuration_takes_the_rest_from_its_parent(planned, tmp_path) -> None:
    plans = read_json(planned.workspace.plans_file("medssmPlans"))
    plans["configurations"]["finer"] = {"inherits_from": "3d_fullres", "batch_size": 7}
    write_json(tmp_path / "p.json", plans)
    write_json(tmp_path / "dataset.json", planned.manifest.content)
    made = read_plan(tmp_path / "p.json", "finer")
    assert made.batch_size == 7
    assert made.patch_size == planned.plan.patch_size


def test_an_unknown_configuration_is_answered_with_the_nearest(planned) -> None:
    with pytest.raises(UsageError, match="did you mean '3d_fullres'"):
        read_plan(planned.workspace.plans_file("medssmPlans"), "3d_fulres")


def test_a_plan_that_is_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"configurations": {')
    with pytest.raises(BadDataError, match=r"p\.json: not valid JSON"):
        read_plan(tmp_path / "p.json")
