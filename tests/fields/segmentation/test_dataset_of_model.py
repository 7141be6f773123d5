"""A model folder knows its data set, wherever that lies; a data set that moved is told."""

import shutil

import pytest

from medssm.cli.main import main
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, write_json
from medssm.fields.segmentation.dataset_of_model import find_raw_folder, find_splits
from medssm.fields.segmentation.evaluate import EvaluateConfig, evaluate
from medssm.fields.segmentation.model_folder import model_content, write_model
from medssm.fields.segmentation.references import find_references
from medssm.runs.workspace import Workspace


@pytest.fixture
def model(planned, tmp_path):
    """A model folder of a home far from its raw data, its held-back cases predicted perfectly."""
    raw = tmp_path / "elsewhere" / planned.manifest.name
    shutil.copytree(planned.workspace.raw_folder, raw)
    workspace = Workspace(tmp_path / "home", raw.name, raw)
    shutil.copytree(planned.workspace.preprocessed, workspace.preprocessed)
    folder = workspace.model_folder("run")
    content = model_content({"name": "lightm_unet"}, planned.plan, workspace, mirror=True)
    write_model(folder, content, planned.plan, workspace)
    for name in read_json(workspace.preprocessed / "splits_final.json")[0]["val"]:
        place = folder / "fold_0" / "validation"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(raw / "labelsTr" / f"{name}.nii.gz", place)
    return folder


def _raw(model):
    return model.parents[3] / "elsewhere" / model.parent.name


def test_a_model_folder_is_evaluated_without_naming_its_far_data_set(model, capsys):
    assert main(["evaluate", str(model), "--json"]) == 0
    report = evaluate(EvaluateConfig(predictions=model, overlays=0))
    assert report.mean_dice == 1.0
    assert report.missing == []


def test_held_back_cases_that_have_no_prediction_are_missing(model):
    victim = next((model / "fold_0" / "validation").iterdir())
    victim.rename(victim.with_name("extra.nii.gz"))
    references = find_references(model, None)
    assert victim.name.removesuffix(".nii.gz") in references.expected


def test_a_data_set_that_moved_is_told_with_the_place_where_it_was(model):
    moved = _raw(model).with_name("moved")
    _raw(model).rename(moved)
    with pytest.raises(BadDataError, match=r"elsewhere.*-r FOLDER"):
        evaluate(EvaluateConfig(predictions=model, overlays=0))
    assert evaluate(EvaluateConfig(predictions=model, references=moved)).mean_dice == 1.0


def test_a_home_that_moved_with_its_raw_data_still_finds_it(model):
    home = model.parents[2]
    (home / "raw").mkdir()
    _raw(model).rename(home / "raw" / model.parent.name)
    moved = home.rename(home.with_name("other"))
    found = find_raw_folder(moved / model.relative_to(home))
    assert found == moved / "raw" / model.parent.name


def test_a_model_that_never_saw_raw_images_asks_for_references(model):
    content = read_json(model / "model.json") | {"raw_folder": None}
    write_json(model / "model.json", content)
    with pytest.raises(UsageError, match="-r FOLDER"):
        find_references(model, None)


def test_a_model_folder_that_was_copied_out_of_its_home_keeps_data_set_and_folds(model, tmp_path):
    lone = tmp_path / "lone"
    shutil.copytree(model, lone)
    assert find_raw_folder(lone) == _raw(model)
    assert find_splits(lone, read_json(lone / "model.json")) == read_json(
        model.parents[2] / "preprocessed" / model.parent.name / "splits_final.json"
    )
