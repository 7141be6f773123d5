"""Bad input is named with its file, what was found, what was expected and the remedy."""

import gzip
import json

import nibabel
import numpy as np
import pytest

from medssm.data.integrity import check_image_file, check_manifest, format_findings
from medssm.data.layouts import import_dataset
from medssm.data.manifest import read_manifest
from medssm.data.phantom import PhantomShape, make_phantom_dataset
from tests.support.shared import shared_folder

SMALL = PhantomShape(size=(10, 16, 16))


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "Dataset001_Phantom"
    make_phantom_dataset(folder, cases=3, held_back=0, seed=1, shape=SMALL)
    return folder


def _image(raw, case=0):
    return raw / "imagesTr" / f"phantom_{case:03d}_0000.nii.gz"


def _label(raw, case=0):
    return raw / "labelsTr" / f"phantom_{case:03d}.nii.gz"


def _change(path, change, dtype=None, affine=None):
    image = nibabel.load(path)
    voxels = change(np.asarray(image.dataobj).copy())
    nibabel.save(
        nibabel.Nifti1Image(voxels.astype(dtype or voxels.dtype), image.affine if affine is None
                            else affine), path,
    )  # fmt: skip


def _errors(raw):
    return [f for f in check_manifest(read_manifest(raw), workers=2) if f.severity == "error"]


def test_a_whole_data_set_has_no_finding(raw):
    assert check_manifest(read_manifest(raw), workers=2) == []


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("which", [_image, _label])
def test_a_cut_file_is_refused_by_name(raw, share, which):
    path = which(raw)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = _errors(raw)
    assert {finding.file for finding in found} == {str(path)}
    assert all(finding.case == "phantom_000" and finding.remedy for finding in found)


def test_a_wrong_checksum_is_refused(raw):
    content = bytearray(_image(raw).read_bytes())
    content[-8] ^= 0xFF
    _image(raw).write_bytes(bytes(content))
    assert [finding.file for finding in _errors(raw)] == [str(_image(raw))]


def test_an_empty_file_is_refused(raw):
    _image(raw).write_bytes(b"")
    assert "0 bytes" in _errors(raw)[0].found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_no_number_is_refused(raw, value):
    def spoil(voxels):
        voxels = voxels.astype(np.float32)
        voxels[1, 2, 3] = value
        return voxels

    _change(_image(raw), spoil)
    assert [f.problem for f in _errors(raw)] == ["not finite"]


@pytest.mark.parametrize(("level", "problem"), [(0, "all zero"), (7, "constant")])
def test_an_image_without_content_is_refused(raw, level, problem):
    _change(_image(raw), lambda voxels: voxels * 0 + level)
    assert [f.problem for f in _errors(raw)] == [problem]


def _shifted(affine):
    affine = affine.copy()
    affine[0, 3] += 10
    return affine


def _stretched(affine):
    return affine @ np.diag([2.0, 1, 1, 1])


def _flipped(affine):
    return affine @ np.diag([-1.0, 1, 1, 1])


@pytest.mark.parametrize(
    ("move", "problem"), [(_shifted, "origin"), (_stretched, "spacing"), (_flipped, "direction")]
)
def test_a_label_that_lies_elsewhere_is_refused(raw, move, problem):
    affine = nibabel.load(_label(raw)).affine
    _change(_label(raw), lambda voxels: voxels, affine=move(affine))
    assert [(f.problem, f.file) for f in _errors(raw)] == [(problem, str(_label(raw)))]


def test_a_label_of_another_shape_is_refused(raw):
    _change(_label(raw), lambda voxels: voxels[:-2])
    assert [f.problem for f in _errors(raw)] == ["shape"]


@pytest.mark.parametrize(
    ("value", "dtype", "problem"),
    [(7, np.uint8, "undeclared value"), (0.5, np.float32, "not a label map"),
     (-1, np.int16, "undeclared value")],
)  # fmt: skip
def test_a_label_value_that_nobody_declared_is_refused(raw, value, dtype, problem):
    def spoil(voxels):
        voxels = voxels.astype(dtype)
        voxels[0, 0, 0] = value
        return voxels

    _change(_label(raw), spoil, dtype)
    assert [f.problem for f in _errors(raw)] == [problem]


def test_one_empty_label_is_told_and_all_empty_labels_are_refused(raw):
    _change(_label(raw), lambda voxels: voxels * 0)
    findings = check_manifest(read_manifest(raw))
    assert [(f.problem, f.severity) for f in findings] == [("empty label", "warning")]
    for case in (1, 2):
        _change(_label(raw, case), lambda voxels: voxels * 0)
    assert "no foreground" in [f.problem for f in _errors(raw)]


def test_an_image_among_the_labels_is_no_label_map(raw):
    _label(raw).write_bytes(_image(raw).read_bytes())
    assert [f.problem for f in _errors(raw)] == ["not a label map"]


def test_a_missing_label_and_a_stray_file_are_named(raw):
    _label(raw).unlink()
    (raw / "labelsTr" / ".DS_Store").write_bytes(b"x")
    problems = {f.problem: f.severity for f in check_manifest(read_manifest(raw))}
    assert problems == {"no label": "error", "stray file": "warning"}


def test_the_same_image_under_two_names_is_told(raw):
    for which in (_image, _label):
        which(raw, 1).write_bytes(which(raw, 0).read_bytes())
    assert [f.problem for f in check_manifest(read_manifest(raw))] == ["duplicate"]


def test_a_wrong_count_in_dataset_json_is_told(raw):
    file = raw / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"numTraining": 9}))
    assert [f.problem for f in check_manifest(read_manifest(raw))] == ["numTraining"]


def test_a_singular_affine_is_refused(raw):
    affine = nibabel.load(_image(raw)).affine
    affine[:3, 0] = 0
    image = nibabel.load(_image(raw))
    header = image.header.copy()
    header.set_sform(affine, code=1)
    header["qform_code"] = 0
    content = header.binaryblock + b"\0\0\0\0" + np.asarray(image.dataobj).tobytes(order="F")
    _image(raw).write_bytes(gzip.compress(content))
    assert _errors(raw)[0].problem == "unreadable"


def test_a_header_that_claims_too_much_costs_no_memory(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    header = image.header.copy()
    header.set_data_shape((30000, 30000, 100))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + b"\0" * 4096))
    findings = check_image_file(path)
    assert findings[0].severity == "error"
    assert str(path) == findings[0].file


def test_big_endian_files_are_fine(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(">i2")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4), header), tmp_path / "big.nii.gz")
    assert check_image_file(tmp_path / "big.nii.gz") == []


def test_a_text_file_with_an_image_ending_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_text("hello")
    assert check_image_file(tmp_path / "a.nii.gz")[0].problem == "unreadable"


def test_findings_read_as_a_table_with_errors_first(raw):
    _label(raw, 1).unlink()
    (raw / "labelsTr" / "notes.txt").write_text("x")
    lines = format_findings(check_manifest(read_manifest(raw))).splitlines()
    assert lines[0].split()[:3] == ["case", "problem", "severity"]
    assert "error" in lines[1]
    assert "warning" in lines[2]


def test_every_defect_of_the_real_dirty_folder_is_named(tmp_path):
    source = shared_folder("data/hippocampus_dirty")
    manifest = import_dataset("folder", source, tmp_path)
    named = {f.file.rsplit("/", 1)[-1]: f.severity for f in check_manifest(manifest)}
    assert named == {
        "hippocampus_118.nii.gz": "error",
        ".DS_Store": "warning",
        "hippocampus_010.nii.gz": "warning",
        "hippocampus_281.nii.gz": "warning",
    }
