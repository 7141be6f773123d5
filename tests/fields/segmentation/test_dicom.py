"""A hospital's folder or zip to label maps, SEG and outlines, and a line for every series."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from medssm.cli.main import main
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import TEMPORARY_MARK, read_json
from medssm.data.manifest import read_manifest
from medssm.fields.segmentation.dicom_channels import expected_modalities
from medssm.fields.segmentation.dicom_input import passing_folder
from medssm.fields.segmentation.plan import PlanConfig, plan
from medssm.fields.segmentation.predict import PredictConfig, predict
from medssm.runs.workspace import open_workspace
from tests.support import dicom_files as dicom
from tests.support.ct_archive import phantom
from tests.support.dicom_series import TO_RAS, oblique, write_series
from tests.support.model_folder import make_model_folder
from tests.support.raw_dataset import make_raw_dataset

NETWORK = {"name": "lightm_unet", "init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]}
SHAPE = (22, 20, 9)


def make_model(root, channels):
    workspace = open_workspace(str(make_raw_dataset(root, 2, channels=channels)), root)
    made = plan(PlanConfig(workers=1), NETWORK, read_manifest(workspace.raw_folder), workspace)
    return make_model_folder(made, workspace, folds=(0,))


@pytest.fixture(scope="module")
def ct_model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("ct"), ("CT",))


@pytest.fixture(scope="module")
def mr_model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("mr"), ("T1", "T2"))


def run(model, source, out, **options):
    return predict(
        PredictConfig(
            model=model, input=source, output=out, device="cpu", mirroring=False, **options
        )
    )


def seg_of(out, name, instances):
    seg = highdicom.seg.segread(out / f"dicom/{name}.seg.dcm")
    return seg.get_pixels_by_source_instance(
        instances, combine_segments=True, assert_missing_frames_are_empty=True
    )


def instances_of(folder):
    """SOP instances in the order of their positions along the first file's normal."""
    found = [pydicom.dcmread(file) for file in folder.iterdir() if file.is_file()]
    normal = np.cross(*np.reshape(np.array(found[0].ImageOrientationPatient, float), (2, 3)))
    found.sort(key=lambda each: float(normal @ np.array(each.ImagePositionPatient, float)))
    return [str(each.SOPInstanceUID) for each in found]


def voxels(file):
    return np.asarray(nibabel.load(file).dataobj)


def test_an_oblique_series_comes_back_on_its_own_grid(ct_model, tmp_path):
    affine = write_series(tmp_path / "in", phantom(1, SHAPE), "s", turn=oblique())
    report = run(ct_model, tmp_path / "in", tmp_path / "out", dicom=("seg", "rtstruct"))
    assert (report.exit_code, len(report.done)) == (0, 1)
    (name,) = report.done
    image = nibabel.load(tmp_path / "out" / f"{name}.nii.gz")
    np.testing.assert_allclose(image.affine, TO_RAS @ affine, atol=1e-4)
    label = voxels(tmp_path / "out" / f"{name}.nii.gz")
    assert label.shape == SHAPE
    assert len(np.unique(label)) > 1
    found = seg_of(tmp_path / "out", name, instances_of(tmp_path / "in"))
    np.testing.assert_array_equal(found, label.transpose(2, 1, 0))
    itk = SimpleITK.ReadImage(str(tmp_path / "out" / f"{name}.nii.gz"))
    np.testing.assert_allclose(itk.GetOrigin(), affine[:3, 3], atol=1e-3)
    assert (tmp_path / "out" / f"dicom/{name}.rtstruct.dcm").is_file()
    assert not list((tmp_path / "out").rglob(f"{TEMPORARY_MARK}*"))


def test_a_study_of_every_kind_is_sorted_and_the_rest_predicted(ct_model, tmp_path, capsys):
    study = tmp_path / "EXPORT/SMITH^JOHN"
    write_series(study / "A", phantom(1, SHAPE), "good", patient="Smith", leave_out=(4,))
    write_series(study / "B", phantom(2, SHAPE), "mr", modality="MR", sop_class=dicom.MR)
    write_series(study / "C", phantom(3, SHAPE), "gap", patient="Smith")
    for turn in range(2):
        write_series(
            study / f"D{turn}", phantom(4 + turn, SHAPE), "odd", leave_out=(0,) if turn else (),
            change=lambda i, d, t=turn: setattr(d, "SOPInstanceUID", dicom.uid("odd", t, i)),
        )  # fmt: skip
    (tmp_path / "EXPORT/DICOMDIR").write_bytes(b"no DICOMDIR at all")
    words = ["predict", str(ct_model), "-i", str(tmp_path / "EXPORT"), "-o", str(tmp_path / "out"),
             "--home", str(tmp_path / "home"), "device=cpu", "mirroring=false"]  # fmt: skip
    code = main([*words, "--json"])
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert code == 3
    assert (len(answer["done"]), answer["failed"]) == (2, {})
    actions = {note["action"] for note in answer["series"]}
    assert any("1 missing slice(s) interpolated" in action for action in actions)
    reasons = {note["reason"]: note for note in answer["series"]}
    assert reasons["wrong-modality"]["found"] == "9 file(s) of MR"
    assert "modality=any" in reasons["wrong-modality"]["action"]
    assert not reasons["wrong-modality"]["fault"]
    assert reasons["uneven-repeats"]["fault"]
    assert "not-an-image" in reasons
    # the same command again has nothing to do, and says the same of the rest
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("ct-*.*")}
    assert len(before) == 8
    main(words)
    told = capsys.readouterr()
    assert "done 0, failed 0, skipped 2" in told.out
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("ct-*.*")} == before
    everything = "".join([
        told.out, told.err, *(str(file) for file in (tmp_path / "out").rglob("*")),
        *(file.read_text() for file in (tmp_path / "out" / ".medssm").rglob("*.json")),
    ])  # fmt: skip
    assert "smith" not in everything.lower()


def test_a_zip_without_endings_is_the_same_as_its_folder(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s")
    with zipfile.ZipFile(tmp_path / "STUDY", "w") as archive:
        for file in (tmp_path / "in").iterdir():
            archive.write(file, f"PAT/{file.name}")
    (tmp_path / "home").mkdir()
    names = [
        run(ct_model, tmp_path / source, tmp_path / f"out-{source}", home=tmp_path / "home").done
        for source in ("in", "STUDY")
    ]
    assert names[0] == names[1]
    one, other = (tmp_path / f"out-{each}" / f"{names[0][0]}.nii.gz" for each in ("in", "STUDY"))
    np.testing.assert_array_equal(voxels(one), voxels(other))
    assert not list((tmp_path / "out-STUDY").rglob("*zip*"))


def test_a_hostile_zip_is_refused_and_writes_nothing(ct_model, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../canary", "x")
    with pytest.raises(BadDataError, match=r"\.\."):
        run(ct_model, tmp_path / "evil.zip", tmp_path / "a/b/out")
    assert not list(tmp_path.rglob("canary"))
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(BadDataError, match="none is DICOM"):
        run(ct_model, tmp_path / "text.zip", tmp_path / "out")


def test_an_object_asked_for_later_is_written_without_predicting_again(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s")
    (name,) = run(ct_model, tmp_path / "in", tmp_path / "out").done
    seg = tmp_path / "out" / f"dicom/{name}.seg.dcm"
    before = seg.read_bytes()
    later = run(ct_model, tmp_path / "in", tmp_path / "out", dicom=("seg", "labelmap", "rtstruct"))
    assert (later.done, later.skipped) == ((), (name,))
    assert seg.read_bytes() == before
    assert (tmp_path / "out" / f"dicom/{name}.labelmap.dcm").is_file()
    outputs = read_json(tmp_path / "out/predictions.json")["cases"][name]["outputs"]
    assert f"dicom/{name}.rtstruct.dcm" in outputs
    # a damaged object is written anew
    seg.write_bytes(before[:-10])
    run(ct_model, tmp_path / "in", tmp_path / "out")
    assert len(seg.read_bytes()) == len(before)


def test_an_input_that_changed_is_predicted_again(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s")
    (name,) = run(ct_model, tmp_path / "in", tmp_path / "out").done
    write_series(tmp_path / "in", phantom(2, SHAPE), "s")
    assert run(ct_model, tmp_path / "in", tmp_path / "out").done == (name,)


def test_a_slice_that_cannot_be_decoded_costs_its_series_only(ct_model, tmp_path):
    write_series(tmp_path / "in/a", phantom(1, SHAPE), "a")

    def cut(index, dataset):
        if index == 3:
            dataset.PixelData = dataset.PixelData[:-100]

    write_series(tmp_path / "in/b", phantom(2, SHAPE), "b", change=cut)
    report = run(ct_model, tmp_path / "in", tmp_path / "out", workers=0)
    assert (len(report.done), len(report.failed), report.exit_code) == (1, 1, 3)
    (problem,) = report.failed.values()
    assert "slice 4 of 9: the pixels cannot be decoded" in problem
    assert str(tmp_path) not in problem


def test_a_ct_model_refuses_mr_by_modality_unless_told(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s", modality="MR", sop_class=dicom.MR)
    with pytest.raises(BadDataError, match="the model takes CT"):
        run(ct_model, tmp_path / "in", tmp_path / "out")
    assert len(run(ct_model, tmp_path / "in", tmp_path / "out", modality="any").done) == 1
    with pytest.raises(BadDataError, match="the model takes PT"):
        run(ct_model, tmp_path / "in", tmp_path / "out", modality="PT")
    with pytest.raises(UsageError, match="modality='ct scan'"):
        run(ct_model, tmp_path / "in", tmp_path / "out", modality="ct scan")


def test_channels_are_series_called_so_within_a_study(mr_model, tmp_path):
    for patient, words in (("p", ("AX T1 SE", "AX T2 FLAIR", "SURVEY")), ("q", ("AX T1 SE",))):
        for index, word in enumerate(words):
            write_series(
                tmp_path / f"in/{patient}{index}", phantom(index, SHAPE), f"{patient}{index}",
                patient=patient, modality="MR", sop_class=dicom.MR, SeriesDescription=word,
                # the second channel on a grid of its own
                origin=np.array([10.0, -20.0, 30.0]) + 1.5 * index,
            )  # fmt: skip
    with pytest.raises(UsageError, match=r"channels=\[WORD1,WORD2\]"):
        run(mr_model, tmp_path / "in", tmp_path / "out")
    report = run(mr_model, tmp_path / "in", tmp_path / "out", channels=("T1", "flair"))
    (name,) = report.done
    assert report.exit_code == 3
    found = sorted((note.reason, note.action) for note in report.series)
    assert [reason for reason, _ in found] == ["", "", "channels-incomplete",
                                               "not-one-of-the-channels"]  # fmt: skip
    assert {action[-23:] for reason, action in found if not reason} == {
        f"channel {index} of {name}"[-23:] for index in range(2)
    }
    seg = pydicom.dcmread(tmp_path / "out" / f"dicom/{name}.seg.dcm")
    first = pydicom.dcmread(next((tmp_path / "in/p0").iterdir()))
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == first.SeriesInstanceUID
    with pytest.raises(UsageError, match="1 words for a model of 2"):
        run(mr_model, tmp_path / "in", tmp_path / "out", channels=("T1",))


def test_identified_names_are_the_uids_of_the_series(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s")
    report = run(ct_model, tmp_path / "in", tmp_path / "out", identified=True, dicom=())
    assert report.done == (f"ct-{dicom.uid('series', 's')}",)
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_a_missing_slice_is_in_the_label_map_and_not_in_the_seg(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s", leave_out=(4,))
    (name,) = run(ct_model, tmp_path / "in", tmp_path / "out").done
    label = voxels(tmp_path / "out" / f"{name}.nii.gz")
    found = seg_of(tmp_path / "out", name, instances_of(tmp_path / "in"))
    np.testing.assert_array_equal(found, np.delete(label, 4, axis=2).transpose(2, 1, 0))


def test_leftovers_of_a_killed_run_are_deleted(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s")
    scratch = tmp_path / "scratch"
    left = passing_folder(scratch, tmp_path / "out", "dicom")
    other = passing_folder(scratch, tmp_path / "elsewhere", "dicom")
    for folder in (left, other):
        write_series(folder, phantom(1, SHAPE), "s")
    run(ct_model, tmp_path / "in", tmp_path / "out", scratch=scratch)
    assert not left.exists()
    # that of a run into another folder, which may still be at it
    assert other.exists()


def test_a_series_that_was_not_asked_for_is_told_as_such(ct_model, tmp_path):
    for name in ("a", "b"):
        write_series(tmp_path / "in" / name, phantom(1, SHAPE), name)
    names = sorted(run(ct_model, tmp_path / "in", tmp_path / "out", home=tmp_path).done)
    report = run(ct_model, tmp_path / "in", tmp_path / "new", cases=names[0], home=tmp_path)
    assert {note.series: note.action for note in report.series} == {
        names[0]: "predicted", names[1]: "not asked for",
    }  # fmt: skip


def test_a_mixed_folder_of_images_and_dicom_is_the_images_and_says_so(ct_model, tmp_path, capsys):
    raw = next((ct_model.parents[2] / "raw").glob("Dataset*"))
    shutil.copytree(raw / "imagesTr", tmp_path / "in")
    write_series(tmp_path / "in/dicom", phantom(1, SHAPE), "s")
    words = ["predict", str(ct_model), "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main([*words, "cases=c0", "mirroring=false", "device=cpu"]) == 0
    assert "the DICOM files are NOT" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "in/dicom")
    assert main([*words, "cases=c0", "mirroring=false", "device=cpu"]) == 0
    assert "DICOM" not in capsys.readouterr().err


def test_a_zip_that_is_cut_off_and_other_archives_are_told(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s")
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", tmp_path / "in"))
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:4000])
    tar = shutil.make_archive(str(tmp_path / "series"), "gztar", tmp_path / "in")
    for file, told in ((cut, "it is cut off"), (Path(tar), "unpack it and name the folder")):
        with pytest.raises(BadDataError, match=told):
            run(ct_model, file, tmp_path / "out")


def test_a_series_without_geometry_is_told_what_it_lacks(ct_model, tmp_path):
    for turn in range(5):
        made = dicom.plane(np.zeros((8, 8), "u2"), "s", turn, (0, 0, turn), PixelSpacing=None)
        (tmp_path / "in").mkdir(exist_ok=True)
        made.save_as(tmp_path / "in" / str(turn), enforce_file_format=True)
    with pytest.raises(BadDataError, match=r"no-geometry \(no pixel spacing\)"):
        run(ct_model, tmp_path / "in", tmp_path / "out")


def test_evaluation_passes_over_the_objects(ct_model, tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s")
    (name,) = run(ct_model, tmp_path / "in", tmp_path / "out", dicom=("seg", "rtstruct")).done
    (tmp_path / "true").mkdir()
    shutil.copy(tmp_path / "out" / f"{name}.nii.gz", tmp_path / "true")
    code = main(["evaluate", str(tmp_path / "out"), "-r", str(tmp_path / "true"), "-q"])
    assert code == 0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"0": "CT"}, ["CT"]), ({"0": "MRI"}, ["MR"]), ({"0": "channel_0"}, [None]),
        ({"1": "PET", "0": "CT"}, ["CT", "PT"]), ({"0": "T2_SPIR", "1": "FLAIR"}, ["MR", "MR"]),
    ],
)  # fmt: skip
def test_channels_tell_their_modality_by_their_names(names, expected):
    assert expected_modalities(names, "auto") == expected


@pytest.mark.skipif(os.name == "nt", reason="no links there")
def test_links_in_a_folder_are_followed_and_no_circle_is_endless(ct_model, tmp_path):
    write_series(tmp_path / "there", phantom(1, SHAPE), "s")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "there")
    (tmp_path / "there/up").symlink_to(tmp_path / "in")
    assert len(run(ct_model, tmp_path / "in", tmp_path / "out").done) == 1
