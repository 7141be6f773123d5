"""A damaged header ends in a finding: no other error, no hang, no hunger for memory."""

import gzip
import json

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssm.core.errors import BadDataError
from medssm.data.integrity import check_image_file, check_manifest
from medssm.data.layouts import import_dataset

HEADER = 348
_VOXELS = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(np.int16)
WHOLE = nibabel.Nifti1Image(_VOXELS, np.eye(4)).to_bytes()


@settings(max_examples=400, deadline=5000, derandomize=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), max_size=12),
    kept=st.integers(0, len(WHOLE)) | st.just(len(WHOLE)),
    packed=st.booleans(),
)
def test_a_mutated_header_is_read_or_refused_by_name(tmp_path_factory, changes, kept, packed):
    content = bytearray(WHOLE)
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.getbasetemp() / ("fuzz.nii.gz" if packed else "fuzz.nii")
    cut = bytes(content[:kept])
    path.write_bytes(gzip.compress(cut, 1) if packed else cut)
    findings = check_image_file(path)
    assert {finding.file for finding in findings} <= {str(path)}
    if kept < len(WHOLE) and not changes:
        assert findings[0].severity == "error"


def test_voxels_far_beyond_the_header_are_not_unpacked(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(WHOLE + b"\0" * (1 << 24), 1))
    (finding,) = check_image_file(path)
    assert "by its header" in finding.found


@pytest.mark.parametrize("ending", ["mha", "nrrd"])
@pytest.mark.parametrize("lost", [1, 4, 400])
def test_a_packed_mha_or_nrrd_that_was_cut_is_refused(tmp_path, ending, lost):
    import SimpleITK

    path = tmp_path / f"a.{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(_VOXELS), str(path), True)
    assert check_image_file(path) == []
    path.write_bytes(path.read_bytes()[:-lost])
    assert check_image_file(path)[0].severity == "error"


def test_a_value_in_one_label_of_four_is_not_declared_by_an_import(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / "src" / part).mkdir(parents=True)
    for case in range(4):
        label = (_VOXELS % 3).astype(np.uint8)
        label[0, 0, 0] = 7 if case == 2 else 0
        for part, voxels in (("images", _VOXELS + case), ("labels", label)):
            image = nibabel.Nifti1Image(voxels, np.eye(4))
            nibabel.save(image, tmp_path / "src" / part / f"c{case}.nii.gz")
    manifest = import_dataset("folder", tmp_path / "src", tmp_path / "home")
    assert [(f.case, f.problem) for f in check_manifest(manifest)] == [("c2", "undeclared value")]


def _task(tmp_path, **content):
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / "t" / part).mkdir(parents=True)
    for case in range(2):
        volume = np.stack([_VOXELS, _VOXELS + case], -1)
        for part, voxels in (("imagesTr", volume), ("labelsTr", (_VOXELS % 2).astype(np.uint8))):
            image = nibabel.Nifti1Image(voxels, np.eye(4))
            nibabel.save(image, tmp_path / "t" / part / f"c{case}.nii.gz")
    whole = {
        "modality": {"0": "T1", "1": "T2"},
        "labels": {"0": "background", "1": "tumour"},
        "training": [
            {"image": f"./imagesTr/c{i}.nii.gz", "label": f"./labelsTr/c{i}.nii.gz"} for i in (0, 1)
        ],
    }
    (tmp_path / "t" / "dataset.json").write_text(json.dumps(whole | content))
    return tmp_path / "t"


def test_a_cut_decathlon_image_costs_only_its_own_case(tmp_path):
    source = _task(tmp_path)
    path = source / "imagesTr" / "c0.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    manifest = import_dataset("msd", source, tmp_path / "home")
    errors = [f for f in check_manifest(manifest) if f.severity == "error"]
    assert {f.case for f in errors} == {"c0"}
    assert str(path) in {f.file for f in errors}


@pytest.mark.parametrize(
    "content",
    [{"training": ["c0"]}, {"training": [{"image": "c0"}]}, {"modality": ["T1"]},
     {"labels": {"0": "background", "x": "tumour"}}],
)  # fmt: skip
def test_a_decathlon_description_of_another_form_is_refused_by_name(tmp_path, content):
    with pytest.raises(BadDataError, match=r"dataset\.json"):
        import_dataset("msd", _task(tmp_path, **content), tmp_path / "home")
