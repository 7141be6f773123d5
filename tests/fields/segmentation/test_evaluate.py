"""Evaluation of a folder: right numbers, nothing left out silently, files that can be read."""

import csv
import json

import nibabel
import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import write_json
from medssm.fields.segmentation.evaluate import EvaluateConfig, evaluate

AFFINE = np.diag([1.0, 1.0, 2.5, 1.0])


def _write(folder, name, voxels, affine=AFFINE):
    folder.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.uint8), affine), folder / f"{name}.nii.gz")


def _label_map(seed):
    rng = np.random.default_rng(seed)
    voxels = np.zeros((20, 18, 10), dtype=np.uint8)
    x, y = rng.integers(2, 6, 2)
    voxels[x : x + 9, y : y + 9, 2:8] = 1
    voxels[x + 3 : x + 6, y + 3 : y + 6, 3:6] = 2
    return voxels


@pytest.fixture
def folders(tmp_path):
    """Four references and predictions that are one voxel off."""
    for seed in range(4):
        _write(tmp_path / "references", f"case_{seed}", _label_map(seed))
        _write(tmp_path / "predictions", f"case_{seed}", np.roll(_label_map(seed), 1, 0))
    return tmp_path


def _evaluate(folders, **options):
    arguments = {
        "predictions": folders / "predictions",
        "references": folders / "references",
        "output": folders / "out",
        "overlays": 1,
        **options,
    }
    return evaluate(EvaluateConfig(**arguments))


def _summary(folders):
    return json.loads((folders / "out" / "summary.json").read_text())


def test_a_shift_of_one_voxel_gives_the_numbers_counted_by_hand(folders):
    report = _evaluate(folders)
    # the small cube is 3 x 3 x 3: two of three layers are common
    assert report.per_label["label_2"]["Dice"].mean == pytest.approx(2 / 3)
    assert report.per_label["label_2"]["HD95_mm"].mean == 1.0
    assert report.exit_code == 0


def test_summary_holds_the_keys_of_nnunet_and_says_its_policy(folders):
    _evaluate(folders)
    summary = _summary(folders)
    case = summary["metric_per_case"][0]
    assert {"metrics", "prediction_file", "reference_file"} <= set(case)
    wanted = {"Dice", "IoU", "TP", "FP", "FN", "TN", "n_pred", "n_ref", "HD95_mm", "NSD"}
    assert wanted <= set(case["metrics"]["1"])
    assert sum(case["metrics"]["1"][key] for key in ("TP", "FP", "FN", "TN")) == 20 * 18 * 10
    assert set(summary["mean"]) == {"1", "2"}
    assert 0 < summary["foreground_mean"]["Dice"] < 1
    assert "miss" in summary["empty_masks"]
    assert summary["tolerance_mm"] == 1.0


def test_cases_csv_has_a_row_for_each_case_and_label(folders):
    _evaluate(folders)
    rows = list(csv.DictReader((folders / "out" / "cases.csv").open()))
    assert len(rows) == 8
    assert float(rows[1]["Dice"]) == pytest.approx(2 / 3, abs=1e-6)


def test_a_missing_prediction_is_named(folders):
    (folders / "predictions" / "case_2.nii.gz").unlink()
    report = _evaluate(folders)
    assert report.missing == ["case_2"]
    assert report.exit_code == 3
    assert "case_2" in report.report.read_text()


def test_a_damaged_prediction_costs_only_itself(folders):
    file = folders / "predictions" / "case_1.nii.gz"
    file.write_bytes(file.read_bytes()[:60])
    report = _evaluate(folders)
    assert list(report.failed) == ["case_1"]
    assert "case_1.nii.gz" in report.failed["case_1"]
    assert len(report.cases) == 3


def test_a_prediction_on_another_grid_is_not_scored(folders):
    moved = AFFINE.copy()
    moved[0, 3] = 5.0
    _write(folders / "predictions", "case_0", _label_map(0), moved)
    assert "elsewhere" in _evaluate(folders).failed["case_0"]


def test_empty_predictions_are_counted_as_misses(folders):
    _write(folders / "predictions", "case_0", np.zeros((20, 18, 10)))
    report = _evaluate(folders)
    assert _summary(folders)["verdicts"]["label_1"]["miss"] == 1
    worst = next(score for score in report.cases if score.case == "case_0").labels["label_1"]
    assert worst.values["HD95_mm"] == pytest.approx(float(np.hypot(np.hypot(20, 18), 25)))


def test_a_label_that_is_nowhere_is_left_out_of_the_means_of_nnunet_alone(folders):
    for folder in ("references", "predictions"):
        _write(folders / folder, "case_0", np.minimum(_label_map(0), 1))
    _evaluate(folders)
    summary = _summary(folders)
    assert summary["mean"]["2"]["Dice"] == pytest.approx((1 + 3 * 2 / 3) / 4)
    assert summary["nnunet_means"]["mean"]["2"]["Dice"] == pytest.approx(2 / 3)


def _dataset_json(labels, **more):
    channels = {"channel_names": {"0": "MRI"}, "file_ending": ".nii.gz", "numTraining": 4}
    return {**channels, "labels": labels, **more}


def test_names_and_regions_come_from_the_dataset(folders):
    labels = {"background": 0, "organ": [1, 2], "core": 2}
    content = _dataset_json(labels, regions_class_order=[1, 2])
    write_json(folders / "predictions" / "dataset.json", content)
    report = _evaluate(folders)
    assert list(report.per_label) == ["organ", "core"]
    # the whole cube is 9 wide, shifted by one
    assert report.per_label["organ"]["Dice"].mean == pytest.approx(8 / 9)
    assert set(_summary(folders)["mean"]) == {"(1, 2)", "2"}


def test_voxels_to_ignore_do_not_count(folders):
    labels = {"background": 0, "organ": 1, "core": 2, "ignore": 3}
    write_json(folders / "predictions" / "dataset.json", _dataset_json(labels))
    for seed in range(4):
        truth, guess = _label_map(seed), np.roll(_label_map(seed), 1, 0)
        truth[truth != guess] = 3
        _write(folders / "references", f"case_{seed}", truth)
    report = _evaluate(folders)
    assert list(report.per_label) == ["organ", "core"]
    assert report.mean_dice == 1.0


def test_a_better_model_is_found_better_for_every_label(folders):
    for seed in range(4):
        _write(folders / "others", f"case_{seed}", np.roll(_label_map(seed), 2, 0))
    report = _evaluate(folders, against=folders / "others")
    assert report.comparisons["label_2"]["Dice"].difference.mean == pytest.approx(1 / 3)
    assert report.comparisons["mean"]["HD95_mm"].difference.mean < 0
    assert _summary(folders)["comparison"]["mean"]["Dice"]["wins"] == 4
    assert report.facts()["comparison"] == _summary(folders)["comparison"]


def test_two_dimensional_pictures_have_areas_and_no_volumes(tmp_path):
    import imageio.v3 as imageio

    for folder, shift in (("references", 0), ("predictions", 2)):
        (tmp_path / folder).mkdir()
        mask = np.zeros((30, 40), dtype=np.uint8)
        mask[10:20, 10 + shift : 20 + shift] = 1
        imageio.imwrite(tmp_path / folder / "a.png", mask)
    report = _evaluate(tmp_path)
    assert report.mean_dice == pytest.approx(0.8)
    assert report.overall["Area_ref_mm2"].mean == 100.0
    assert "Volume_ref_ml" not in report.overall


def test_a_single_slice_among_volumes_keeps_the_measures_they_share(folders):
    _write(folders / "references", "slice", _label_map(0)[:, :, 4:5])
    _write(folders / "predictions", "slice", _label_map(0)[:, :, 4:5])
    report = _evaluate(folders)
    assert len(report.cases) == 5
    assert set(report.overall) == {"Dice", "IoU", "HD95_mm", "NSD"}


def test_nothing_in_common_is_an_error_that_names_both_sides(folders):
    _write(folders / "odd", "stranger", _label_map(0))
    with pytest.raises(BadDataError, match="references"):
        _evaluate(folders, predictions=folders / "odd")


def test_predictions_of_unknown_origin_ask_for_references(folders):
    with pytest.raises(UsageError, match="-r FOLDER"):
        _evaluate(folders, references=None)


def _home_with_model(folders):
    """A data set and a model folder with the validation of fold 0."""
    raw = folders / "home" / "raw" / "Dataset001_Cubes"
    for seed in range(4):
        _write(raw / "imagesTr", f"case_{seed}_0000", _label_map(seed) * 40)
        _write(raw / "labelsTr", f"case_{seed}", _label_map(seed))
    content = _dataset_json({"background": 0, "organ": 1, "core": 2})
    write_json(raw / "dataset.json", content)
    model = folders / "home" / "results" / "Dataset001_Cubes" / "net__plans__3d_fullres"
    network = {"name": "lightm_unet", "spatial_dims": 3}
    facts = {
        "dataset": "Dataset001_Cubes", "network": network, "configuration": "3d_fullres",
        "plans_name": "medssmPlans", "patch_size": [8, 16, 16],
    }  # fmt: skip
    write_json(model / "model.json", facts)
    write_json(model / "dataset.json", content)
    write_json(model / "plans.json", {"configurations": {"3d_fullres": {"spacing": [2.5, 1, 1]}}})
    splits = [{"train": ["case_2", "case_3"], "val": ["case_0", "case_1"]}]
    write_json(folders / "home/preprocessed/Dataset001_Cubes/splits_final.json", splits)
    _write(model / "fold_0" / "validation", "case_0", np.roll(_label_map(0), 1, 0))
    return model


def test_a_model_folder_finds_its_data_set_and_names_missing_validation_cases(folders):
    report = _evaluate(folders, predictions=_home_with_model(folders), references=None)
    assert [score.case for score in report.cases] == ["case_0"]
    assert report.missing == ["case_1"]
    assert "lightm_unet" in (folders / "out" / "model_card.md").read_text()
    assert list(report.per_label) == ["organ", "core"]


def test_references_of_cases_that_nobody_asked_for_are_not_missing(folders):
    for seed in (1, 2, 3):
        (folders / "predictions" / f"case_{seed}.nii.gz").unlink()
    asked = {"cases": {"case_0": {}}, "failed": {"case_1": "damaged"}}
    write_json(folders / "predictions" / "predictions.json", asked)
    assert _evaluate(folders).missing == ["case_1"]


def test_cases_that_prediction_failed_at_are_missing(folders):
    model = _home_with_model(folders)
    note = {"model": str(model), "cases": {"case_0": {}}, "failed": {"case_3": "cut off"}}
    for seed in range(1, 4):
        (folders / "predictions" / f"case_{seed}.nii.gz").unlink()
    write_json(folders / "predictions" / "predictions.json", note)
    assert _evaluate(folders, references=None).missing == ["case_3"]
