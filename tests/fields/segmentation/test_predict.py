"""Prediction with a model folder: the right answer, for every way to ask, at no other's cost."""

import functools
import json
import os
import shutil
import signal

import nibabel
import numpy as np
import pytest
import torch

import medssm
from medssm.cli.main import main
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import TEMPORARY_MARK, read_json
from medssm.fields.segmentation import folder_prediction
from medssm.fields.segmentation.inputs import find_inputs
from medssm.fields.segmentation.nnunet.restore import preprocess_image, restore_label
from medssm.fields.segmentation.predict import PredictConfig, predict
from medssm.inference.streaming import Scratch
from medssm.inference.windows import WindowSettings, predict_logits
from medssm.runs.workspace import Workspace
from tests.support.model_folder import fold_network, make_model_folder

CASES = ("c0", "c1", "c2", "c3")


@pytest.fixture(scope="module")
def model(planned, tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    raw = planned.workspace.raw_folder
    workspace = Workspace(home, raw.name, raw)
    shutil.copytree(planned.workspace.preprocessed, workspace.preprocessed)
    return make_model_folder(planned.plan, workspace, folds=(0, 1, "all"))


@pytest.fixture
def images(planned, tmp_path):
    """The training images as images to predict, so that a test may damage them."""
    shutil.copytree(planned.workspace.raw_folder / "imagesTr", tmp_path / "images")
    return tmp_path / "images"


def run(model, images, out, **options):
    return predict(PredictConfig(model=model, input=images, output=out, device="cpu", **options))


def voxels(file):
    return np.asarray(nibabel.load(file).dataobj)


def labels(out):
    return {file.name: file.read_bytes() for file in sorted(out.glob("*.nii.gz"))}


def by_hand(planned, case, scratch, folds=(0, 1), axes=(0, 1, 2)):
    """Label map (x, y, z) from the mean of what each fold's network answers alone."""
    image, properties = preprocess_image(planned.manifest.cases[case].images, planned.plan)
    settings = WindowSettings(planned.plan.patch_size, mirror_axes=axes)
    logits = 0.0
    for fold in folds:
        network = fold_network(planned.plan, fold)
        with predict_logits(network, torch.from_numpy(image), settings, scratch) as answer:
            logits = logits + np.array(answer, dtype=np.float64) / len(folds)
    return restore_label(logits, properties, planned.plan).transpose(2, 1, 0)


@pytest.mark.parametrize(
    ("options", "folds", "axes"),
    [
        ({}, (0, 1), (0, 1, 2)),
        ({"mirroring": False}, (0, 1), ()),
        ({"folds": (1,)}, (1,), (0, 1, 2)),
        ({"folds": "all", "mirroring": False}, ("all",), ()),
    ],
)
def test_folds_and_mirror_images_are_averaged_as_wished(
    planned, model, images, tmp_path, options, folds, axes
):
    report = run(model, images, tmp_path / "out", **options)
    assert report.done == CASES
    for case in CASES:
        expected = by_hand(planned, case, Scratch(tmp_path), folds, axes)
        found = voxels(tmp_path / "out" / f"{case}.nii.gz")
        # sums in another order: a tie in the last bit may fall either way
        assert np.mean(found != expected) < 1e-3
    assert len({each.tobytes() for each in map(voxels, (tmp_path / "out").glob("*.nii.gz"))}) == 4


def test_folds_and_mirroring_matter(planned, tmp_path):
    answers = [
        by_hand(planned, "c0", Scratch(tmp_path), folds, axes).tobytes()
        for folds, axes in [((0, 1), (0, 1, 2)), ((0, 1), ()), ((1,), ()), (("all",), ())]
    ]
    assert len(set(answers)) == len(answers)


def test_probabilities_are_those_of_the_label_on_the_images_own_grid(
    planned, model, images, tmp_path
):
    run(model, images, tmp_path / "out", save_probabilities=True)
    for case in CASES:
        label = voxels(tmp_path / "out" / f"{case}.nii.gz").transpose(2, 1, 0)
        found = np.load(tmp_path / "out" / f"{case}.npz")["probabilities"]
        assert found.shape == (3, *label.shape)
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
        np.testing.assert_array_equal(found.argmax(0), label)


def test_regions_have_a_probability_each(planned_regions, tmp_path):
    raw = planned_regions.workspace.raw_folder
    workspace = Workspace(tmp_path, raw.name, raw)
    model = make_model_folder(planned_regions.plan, workspace, folds=(0,))
    run(model, raw / "imagesTr", tmp_path / "out", save_probabilities=True)
    for case in CASES:
        whole, core = np.load(tmp_path / "out" / f"{case}.npz")["probabilities"]
        label = voxels(tmp_path / "out" / f"{case}.nii.gz").transpose(2, 1, 0)
        # painted in their declared order: the whole is 1, the core over it 2
        np.testing.assert_array_equal(label, np.where(core > 0.5, 2, np.where(whole > 0.5, 1, 0)))


def test_the_largest_piece_of_every_label_stays_if_wished(model, images, tmp_path):
    from scipy import ndimage

    run(model, images, tmp_path / "all")
    run(model, images, tmp_path / "largest", largest_component=True)
    several = 0
    for case in CASES:
        before, after = (voxels(tmp_path / k / f"{case}.nii.gz") for k in ("all", "largest"))
        for value in set(np.unique(before)) - {0}:
            pieces, count = ndimage.label(before == value)
            several += count > 1
            sizes = np.bincount(pieces.ravel())[1:]
            assert (after == value).sum() == sizes.max()
            assert not (after == value)[before != value].any()
            assert ndimage.label(after == value)[1] == 1
    assert several, "no label in pieces: this shows nothing"


def test_a_label_map_has_the_header_of_its_own_image(model, images, tmp_path):
    affine = nibabel.load(images / "c1_0000.nii.gz").affine
    turn = np.array([[0.96, -0.28, 0, 3], [0.28, 0.96, 0, -7], [0, 0, -1, 9], [0, 0, 0, 1]])
    for channel in range(2):
        image = nibabel.load(images / f"c1_000{channel}.nii.gz")
        turned = nibabel.Nifti1Image(np.asarray(image.dataobj), turn @ affine)
        turned.set_sform(turn @ affine, code=2)
        turned.set_qform(turn @ affine, code=1)
        turned.header["descrip"] = b"scanner seven"
        nibabel.save(turned, images / f"c1_000{channel}.nii.gz")
    run(model, images, tmp_path / "out", cases=("c0", "c1"))
    for case in ("c0", "c1"):
        image = nibabel.load(images / f"{case}_0000.nii.gz")
        label = nibabel.load(tmp_path / "out" / f"{case}.nii.gz")
        assert label.shape == image.shape
        assert label.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(label.affine, image.affine)
        for key in ("qform_code", "sform_code", "xyzt_units", "pixdim", "descrip"):
            np.testing.assert_array_equal(label.header[key], image.header[key])


def test_a_bad_input_costs_only_itself_and_is_named_at_the_end(model, images, tmp_path, capsys):
    cut = images / "c1_0001.nii.gz"
    cut.write_bytes(cut.read_bytes()[:300])
    (images / "c2_0001.nii.gz").unlink()
    words = ["predict", str(model), "-i", str(images), "-o", str(tmp_path / "out"), "device=cpu"]
    assert main([*words, "--json"]) == 3
    spoken = capsys.readouterr()
    lines = [line for line in spoken.err.splitlines() if line.startswith("failed: ")]
    assert [line.split(":")[1].strip() for line in lines] == ["c1", "c2"]
    assert "c1_0001.nii.gz" in lines[0]
    assert "_0001" in lines[1]
    assert json.loads(spoken.out)["failed"].keys() == {"c1", "c2"}
    assert sorted(labels(tmp_path / "out")) == ["c0.nii.gz", "c3.nii.gz"]
    assert sorted(read_json(tmp_path / "out" / "predictions.json")["failed"]) == ["c1", "c2"]
    assert list((tmp_path / "out").rglob(f"{TEMPORARY_MARK}*")) == []


def test_of_many_cases_one_of_many_windows_shows_how_far_it_is(
    model, images, tmp_path, monkeypatch, capsys
):
    speaking = functools.partial(folder_prediction.Progress, pause_s=0.0)
    monkeypatch.setattr(folder_prediction, "Progress", speaking)
    words = ["predict", str(model), "-i", str(images), "-o", str(tmp_path / "out"), "device=cpu"]
    assert main([*words, "folds=[0]", "step_size=0.2", "window_batch=1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line.split()[:3] for line in lines if ": windows " in line]
    # the others are no larger than a window
    assert {name for name, _, _ in told} == {"c3:"}
    shares = [count.split("/") for _, _, count in told]
    assert all(0 < int(count) < int(total) for count, total in shares)


def test_whole_outputs_are_left_alone_and_damaged_ones_are_redone(model, images, tmp_path):
    out = tmp_path / "out"
    run(model, images, out)
    before = labels(out)
    times = {name: (out / name).stat().st_mtime_ns for name in before}
    (out / "c0.nii.gz").write_bytes(before["c0.nii.gz"][:50])
    (out / "c1.nii.gz").unlink()
    (out / ".medssm" / "predictions" / "c2.json").write_text('{"case": "c2"', encoding="utf-8")
    report = run(model, images, out)
    assert (report.done, report.skipped) == (("c0", "c1", "c2"), ("c3",))
    assert labels(out) == before
    assert (out / "c3.nii.gz").stat().st_mtime_ns == times["c3.nii.gz"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, ()),
        ({"mirroring": False}, CASES),
        ({"step_size": 1.0}, CASES),
        ({"folds": 0}, CASES),
        ({"overwrite": True}, CASES),
        ({"window_batch": 2, "workers": 0}, ()),
    ],
)
def test_what_another_setting_made_is_predicted_again(model, images, tmp_path, change, again):
    run(model, images, tmp_path / "out")
    assert run(model, images, tmp_path / "out", **change).done == again


def test_a_changed_image_is_predicted_again(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    image = nibabel.load(images / "c3_0000.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), images / "c3_0000.nii.gz"
    )
    assert run(model, images, tmp_path / "out").done == ("c3",)


def test_one_file_a_list_a_folder_and_a_python_call_give_the_same(model, images, tmp_path):
    whole = medssm.predict(model, images, tmp_path / "folder", device="cpu")
    assert whole.done == CASES
    one = medssm.predict(model, images / "c2_0000.nii.gz", tmp_path / "one", device="cpu")
    pair = [images / "c2_0000.nii.gz", images / "c2_0001.nii.gz"]
    several = medssm.predict(model, pair, tmp_path / "list", device="cpu")
    assert one.done == several.done == ("c2",)
    expected = labels(tmp_path / "folder")["c2.nii.gz"]
    assert labels(tmp_path / "one") == labels(tmp_path / "list") == {"c2.nii.gz": expected}
    zyx = np.stack([voxels(file).transpose(2, 1, 0) for file in pair])
    spacing_mm = nibabel.load(pair[0]).header.get_zooms()[::-1]
    array = medssm.predict(model, zyx, spacing_mm=spacing_mm, device="cpu")
    found = voxels(tmp_path / "folder" / "c2.nii.gz").transpose(2, 1, 0)
    assert array.dtype == found.dtype
    np.testing.assert_array_equal(array, found)


@pytest.mark.parametrize(("shape", "spacing_mm"), [((9, 9, 9), (1, 1, 1)), ((2, 2, 9, 9), (1, 1))])
def test_an_array_that_does_not_fit_the_model_is_answered_with_what_does(model, shape, spacing_mm):
    with pytest.raises(BadDataError, match=r"2 channel|axes|spacing"):
        medssm.predict(model, np.random.default_rng(0).random(shape), spacing_mm=spacing_mm)


def test_validation_predicts_every_case_by_the_fold_that_never_saw_it(planned, model, tmp_path):
    out = tmp_path / "out"
    report = predict(PredictConfig(model=model, output=out, cases="validation", device="cpu"))
    folds = {
        name: told["folds"] for name, told in read_json(out / "predictions.json")["cases"].items()
    }
    splits = read_json(model / "splits_final.json")
    expected = {name: [str(fold)] for fold in range(2) for name in splits[fold]["val"]}
    assert folds == expected
    assert set(report.done) == set(expected)


def test_validation_needs_no_input_and_the_end_is_said_once(model, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["predict", str(model), "-o", str(out), "cases=validation", "device=cpu"]
    assert main([*words, "folds=0"]) == 0
    spoken = capsys.readouterr()
    assert (spoken.out + spoken.err).count(", failed 0, skipped 0") == 1
    assert spoken.out.strip().splitlines()[-1].endswith(f"next: medssm evaluate {out}")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": (7,)}, UsageError, r"fold 7 has no weights.*0, 1, all"),
        ({"checkpoint": "best"}, BadDataError, "weights_best"),
        ({"cases": ("c9",)}, UsageError, "no case 'c9'"),
        ({"device": "toaster"}, UsageError, "auto, cpu or cuda"),
    ],
)
def test_a_wish_that_the_model_cannot_fulfil_is_answered(
    model, images, tmp_path, options, error, message
):
    with pytest.raises(error, match=message):
        predict(PredictConfig(**{"model": model, "input": images, "output": tmp_path} | options))


def test_damaged_weights_are_named(model, images, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    weights = broken / "fold_1" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(BadDataError, match=r"fold_1.*cannot be read"):
        run(broken, images, tmp_path / "out")
    assert run(broken, images, tmp_path / "out", folds=0).done == CASES


def test_input_and_output_may_not_be_one_folder(model, images):
    with pytest.raises(UsageError, match="same folder"):
        run(model, images, images)


@pytest.mark.parametrize(
    ("file", "ending", "name"),
    [
        ("scan.1.nii.gz", ".mha", "scan.1"), ("SCAN.NII.GZ", ".nii.gz", "SCAN"),
        ("broken.dat", ".nii.gz", "broken"), ("scan", ".nii.gz", "scan"),
    ],
)  # fmt: skip
def test_a_named_file_of_another_format_is_a_case_without_its_ending(tmp_path, file, ending, name):
    (tmp_path / file).touch()
    assert [case.name for case in find_inputs(tmp_path / file, 1, ending)] == [name]


def test_predictions_inside_of_the_input_are_no_input(model, images):
    run(model, images, images / "out")
    assert run(model, images, images / "out").skipped == CASES


def test_a_request_to_stop_drops_the_case_in_work_and_the_next_run_goes_on(
    model, images, tmp_path, monkeypatch, capsys
):
    from medssm.fields.segmentation import case_prediction

    original, seen = case_prediction.CasePredictor.predict, []

    def stopping(self, case, *rest):
        seen.append(case.name)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, case, *rest)

    monkeypatch.setattr(case_prediction.CasePredictor, "predict", stopping)
    words = ["predict", str(model), "-i", str(images), "-o", str(tmp_path / "out"), "device=cpu"]
    assert main(words) == 5
    assert "the same command goes on" in capsys.readouterr().err
    finished = len(labels(tmp_path / "out"))
    assert 1 <= finished < len(CASES)
    assert main(words) == 0
    assert len(labels(tmp_path / "out")) == len(CASES)
    assert len(seen) <= len(CASES) + 1
