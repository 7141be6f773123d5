"""logging.conf, DICOM and names in files: nothing is read as code, nothing lands elsewhere."""

import os
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest

from medssm.bundle.package import write_package
from medssm.core.errors import BadDataError
from medssm.core.files import read_json, write_json
from medssm.fields.ecg.outputs import read_predictions
from medssm.fields.reconstruction.plan_file import FORMAT, read_plan
from medssm.fields.segmentation.official import _write_model
from medssm.networks import NETWORKS
from medssm.runs.workspace import Workspace
from tests.bundle.test_package import changed
from tests.support.canary import fires_logging, logging_conf, naive_unpack
from tests.support.dicom_files import plane, uid
from tests.support.static_model import DATASET, NETWORK, make_static_model, static_plans


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "a_0000.nii.gz"
    voxels = np.random.default_rng(0).random((8, 9, 8), np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), file)
    return file


@pytest.mark.parametrize("place", ["model", "cwd", "input"])
def test_a_logging_conf_is_never_read(place, run, tmp_path, canary, image):
    model = make_static_model(tmp_path / "model")
    folder = {"model": model, "cwd": tmp_path / "cwd", "input": image.parent}[place]
    for file in (folder / "logging.conf", folder / "configs" / "logging.conf"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(logging_conf(canary))
        fires_logging(file, canary)
    code, told = run("predict", model, "-i", image, "-o", tmp_path / "out", "device=cpu")
    assert code == 0, told
    assert not canary.exists()


def test_a_logging_conf_in_a_package_is_refused(run, tmp_path, canary):
    model = make_static_model(tmp_path / "results" / "Dataset001_Some" / "run")
    write_package(model, tmp_path / "model.zip")
    (tmp_path / "logging.conf").write_text(logging_conf(canary))
    fires_logging(tmp_path / "logging.conf", canary)
    text = (tmp_path / "logging.conf").read_bytes()
    changed(tmp_path / "model.zip", lambda members: {**members, "logging.conf": text})
    code, told = run("import", "package", tmp_path / "model.zip")
    assert code == 3
    assert "its ending is unknown" in told
    assert not canary.exists()


def _series(folder, word="a", **tags):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for index in range(9):
        stored = generator.integers(0, 2000, (16, 16)).astype(np.uint16)
        file = plane(stored, word, index + 1, (0, 0, 3.0 * index), **tags)
        file.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return folder


def _predict(run, tmp_path, source):
    model = make_static_model(tmp_path / "model")
    words = ("-i", source, "-o", tmp_path / "out", "device=cpu")
    return run("predict", model, *words)


def _dicomdir(folder, outside):
    """A DICOMDIR whose one image lies outside of its folder."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = uid("directory")
    record = pydicom.Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.ReferencedFileID = os.path.relpath(outside, folder).split("/")
    record.ReferencedSOPInstanceUIDInFile = uid("out", 1)
    content = pydicom.Dataset()
    content.file_meta = meta
    content.SOPClassUID = meta.MediaStorageSOPClassUID
    content.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    content.FileSetID = "SET"
    content.DirectoryRecordSequence = pydicom.Sequence([record])
    content.save_as(folder / "DICOMDIR", enforce_file_format=True)


def test_a_dicomdir_leads_nowhere(run, tmp_path, tree):
    folder, outside = _series(tmp_path / "in"), _series(tmp_path / "outside", "out")
    _dicomdir(folder, outside / "0.dcm")
    words = pydicom.dcmread(folder / "DICOMDIR").DirectoryRecordSequence[0].ReferencedFileID
    # who follows it, reads the file outside
    assert (folder.joinpath(*words)).resolve() == outside / "0.dcm"
    before = tree()
    code, told = _predict(run, tmp_path, folder)
    assert code == 0, told
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1
    assert {each.split("/")[0] for each in tree() - before} == {"out", "model", "home"}


@pytest.mark.parametrize("tag", ["SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_uid_is_no_path(tag, run, tmp_path, tree, monkeypatch):
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", 0)
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", 0)
    folder = _series(tmp_path / "in", **{tag: "../../canary"})
    assert os.path.normpath(f"{tmp_path}/out/x/../../canary") == str(tmp_path / "canary")
    before = tree()
    code, told = _predict(run, tmp_path, folder)
    assert code == 3, told
    added = {each for each in tree() - before if not each.startswith(("model/", "out/", "home/"))}
    assert added == set()
    assert not list(tmp_path.rglob("canary*"))


def test_a_member_of_a_zip_of_dicom_does_not_leave_it(run, tmp_path, canary, tree):
    folder = _series(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        archive.write(folder / "0.dcm", f"a/../../{canary.name}")
    naive_unpack(tmp_path / "in.zip", tmp_path / "naive")
    canary.unlink()
    before = tree()
    code, told = _predict(run, tmp_path, tmp_path / "in.zip")
    assert code == 3
    assert "holds '..'" in told
    assert {each for each in tree() - before if not each.startswith("model/")} == set()
    assert not canary.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"file_ending": "/../../canary.nii.gz"},
        {"dataset": {"../../canary": {"images": ["a_0000.nii.gz"], "label": "a.nii.gz"}}},
    ],
)
def test_names_in_a_data_set_do_not_leave_its_folder(change, run, tmp_path, image, tree):
    folder = tmp_path / "Dataset001_Some"
    write_json(folder / "dataset.json", {**DATASET, **change})
    for name in ("a_0000.nii.gz", "a.nii.gz"):
        (folder / name).write_bytes(image.read_bytes())
    before = tree()
    code, told = run("plan", folder)
    assert code == 3, told
    assert "dataset.json" in told
    assert tree() == before


def test_a_bag_of_a_table_is_no_path(run, tmp_path, tree):
    (tmp_path / "bags.csv").write_text("a,../../canary,1.0\nb,two,2.0\n")
    before = tree()
    code, told = run("import", "bags", tmp_path / "bags.csv")
    assert code == 3
    assert "../../canary" in told
    assert tree() == before


def test_the_fold_of_a_checkpoint_is_no_path(tmp_path):
    init = {"plans": static_plans(), "configuration": "3d_fullres", "dataset_json": DATASET,
            "fold": "0/../../../canary"}  # fmt: skip
    with pytest.raises(BadDataError, match="the fold"):
        _write_model(tmp_path / "x", NETWORK, {"init_args": init}, NETWORKS.build(**NETWORK))
    assert not list(tmp_path.rglob("*.safetensors"))
    assert read_json(tmp_path / "x" / "dataset.json") == DATASET


@pytest.mark.parametrize("name", ["../../canary", "/canary", "a/b", ".."])
def test_a_record_of_predictions_or_of_a_plan_is_no_path(name, tmp_path):
    write_json(tmp_path / "predictions.json", {"field": "ecg", "cases": {name: {}}})
    with pytest.raises(BadDataError, match=r"predictions\.json: the name of a record"):
        read_predictions(tmp_path)
    workspace = Workspace(tmp_path, "Dataset001_K", tmp_path)
    words = ["left_out", "normalisation", "supervision", "acs_columns", "scanned", "made_of"]
    content = {word: {} for word in words}
    file = workspace.preprocessed / "plan.json"
    write_json(file, {"format": FORMAT, "cases": {name: {}}, "remarks": [], **content})
    with pytest.raises(BadDataError, match=r"plan\.json: the name of a case"):
        read_plan(workspace)
