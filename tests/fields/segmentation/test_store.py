"""A store of stock nnU-Net is taken when it is whole, and refused when it is not."""

import shutil

import pytest

from medssm.core.errors import BadDataError
from medssm.core.files import read_json, write_json
from medssm.data.splits import make_splits
from medssm.fields.segmentation.plan_file import read_plan
from medssm.fields.segmentation.store import accept_store
from medssm.runs.workspace import open_workspace


@pytest.fixture
def stock(planned, tmp_path):
    """The folder as stock nnU-Net leaves it: no records, no folds, no facts of ours."""
    folder = tmp_path / planned.manifest.name
    shutil.copytree(planned.workspace.preprocessed, folder)
    shutil.rmtree(folder / planned.plan.data_identifier / ".medssm")
    (folder / "splits_final.json").unlink()
    plans = read_json(folder / "medssmPlans.json")
    del plans["medssm"]
    (folder / "medssmPlans.json").unlink()
    write_json(folder / "nnUNetPlans.json", plans)
    workspace = open_workspace(str(folder), tmp_path)
    return read_plan(folder / "nnUNetPlans.json"), workspace


def test_a_whole_store_is_accepted_and_gets_stock_folds(planned, stock) -> None:
    plan, workspace = stock
    assert accept_store(plan, workspace) == workspace.preprocessed / plan.data_identifier
    assert read_json(workspace.preprocessed / "splits_final.json") == make_splits(planned.manifest)


@pytest.mark.parametrize("part", [".b2nd", "_seg.b2nd", ".pkl"])
def test_a_half_filled_store_is_refused_with_the_missing_case(stock, part: str) -> None:
    plan, workspace = stock
    (workspace.store(plan.data_identifier) / f"c2{part}").unlink()
    with pytest.raises(BadDataError, match=r"holds 3 whole cases\. Expected 4 \(c2\)"):
        accept_store(plan, workspace)
    assert not (workspace.preprocessed / "splits_final.json").exists()


def test_a_kill_before_the_references_were_copied_is_noticed_by_the_number(stock) -> None:
    plan, workspace = stock
    shutil.rmtree(workspace.preprocessed / "gt_segmentations")
    (workspace.store(plan.data_identifier) / "c2.pkl").unlink()
    with pytest.raises(BadDataError, match=r"holds 3 whole cases\. Expected 4"):
        accept_store(plan, workspace)
