"""A folder of DICOM is one volume with its geometry, or an error that counts what is there."""

import contextlib
import warnings

import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.data.dicom.headers import read_header
from medssm.data.dicom.screening import StackRules
from medssm.data.dicom.stacks import find_stacks
from medssm.data.readers import reader_of
from medssm.data.readers.dicom import DicomReader, stacks_of
from tests.support import dicom_files as dicom
from tests.support.ct_archive import phantom
from tests.support.shared import shared_folder


def _series(folder, hu, *, row=(1, 0, 0), column=(0, 1, 0), step=None, **tags):
    """Write an array as a series; returns the affine from (x, y, z) index to LPS."""
    row, column = np.array(row, dtype=float), np.array(column, dtype=float)
    step = 3.0 * np.cross(row, column) if step is None else np.array(step, dtype=float)
    origin = np.array([10.0, -20.0, 30.0])
    for index, stored in enumerate(dicom.as_stored(hu)):
        dataset = dicom.plane(
            stored, folder.name, index, origin + index * step,
            ImageOrientationPatient=[*row, *column], PixelSpacing=[2.0, 5.0], **tags,
        )  # fmt: skip
        dicom.save(dataset, folder / f"{(index * 5) % 17}-{index}")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = row * 5, column * 2, step, origin
    return np.diag([-1.0, -1, 1, 1]) @ affine


def _turn(rng):
    """A random rotation."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return turn


@pytest.mark.parametrize("seed", range(4))
def test_any_direction_gives_values_and_affine_of_the_files(tmp_path, seed):
    hu = phantom(seed, (9, 8, 7))
    turn = _turn(np.random.default_rng(seed))
    affine = _series(tmp_path / "s", hu, row=turn[:, 0], column=turn[:, 1])
    reader = DicomReader()
    np.testing.assert_allclose(reader.header(tmp_path / "s").affine, affine, atol=1e-5)
    np.testing.assert_array_equal(reader.array(tmp_path / "s"), hu)
    np.testing.assert_allclose(reader.header(tmp_path / "s").spacing_mm, (5, 2, 3), atol=1e-6)


def test_a_tilt_by_half_a_pixel_a_slice_is_undone_where_the_patient_is(tmp_path):
    x = np.arange(12.0)[:, None, None] * 5 + np.zeros((12, 10, 6))
    y = np.arange(10.0)[None, :, None] * 2 + np.arange(6.0)[None, None, :]
    hu = np.rint(x + 10 * y)
    # each slice lies 1 mm further along the columns, half a pixel
    _series(tmp_path / "s", hu, step=(0, 1.0, 3.0))
    volume = DicomReader().volume(tmp_path / "s")
    assert abs(float(volume.affine[:3, 1] @ volume.affine[:3, 2])) < 1e-6
    inside = volume.voxels[:, 4:-6, :]
    assert inside.min() >= 0
    places = np.moveaxis(np.indices(volume.voxels.shape), 0, -1)[:, 4:-6, :]
    world = places @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    # x and y of the phantom are millimetres from the first pixel, in LPS
    expected = (-world[..., 0] - 10) + 10 * (-world[..., 1] + 20)
    np.testing.assert_allclose(inside, expected, atol=1.0)
    with pytest.raises(BadDataError, match="tilted"):
        DicomReader(StackRules(modality=None, tilt="reject")).array(tmp_path / "s")


def test_several_series_in_one_folder_are_counted_and_not_mixed(tmp_path):
    _series(tmp_path / "both/a", phantom(1, (8, 8, 6)))
    _series(tmp_path / "both/b", phantom(2, (9, 8, 5)))
    with pytest.raises(BadDataError, match=r"holds 2 volumes \(8x8x6, 9x8x5\)"):
        DicomReader().array(tmp_path / "both")
    assert len(stacks_of(tmp_path / "both")[0]) == 2
    with pytest.raises(BadDataError, match="1 too-few-slices"):
        DicomReader().array(next((tmp_path / "both/a").iterdir()))


def test_the_real_studies_are_told_apart():
    (series,), out = stacks_of(shared_folder("data/dicom/ct_series"))
    assert len(series.slots) == 20
    assert out == []
    study, _ = stacks_of(shared_folder("data/dicom/mr_study"))
    sizes = sorted((s.first.header.rows, len(s.slots)) for s in study)
    assert sizes == [(50, 40), (320, 22), (320, 22)]


def test_a_file_of_frames_is_read_by_its_ending(tmp_path):
    hu = phantom(3, (8, 7, 6))
    frames = [
        {"position": (0, 0, 3.0 * z), "index": [1, z + 1], "intercept": -1024 - z} for z in range(6)
    ]
    stored = np.stack([dicom.as_stored(hu, -1024 - z)[z] for z in range(6)])
    path = dicom.save(dicom.enhanced(stored, "e", frames), tmp_path / "e.dcm")
    np.testing.assert_array_equal(reader_of(path).array(path), hu)


def test_identifiers_pass_through_the_pseudonym_only(tmp_path):
    dataset = dicom.plane(np.ones((4, 4)), "s", 1, (0, 0, 0), patient="Very Secret")
    path = dicom.save(dataset, tmp_path / "x")
    header = read_header(path.read_bytes(), "x", lambda word: f"<{len(word)}>" if word else "")
    text = repr(header)
    assert "Secret" not in text
    assert dataset.SOPInstanceUID not in text
    assert dataset.SeriesInstanceUID not in text


@pytest.mark.parametrize("cut", [0, 100, 140, 300, 600])
def test_a_cut_file_is_an_error_of_ours_or_has_no_place_in_a_volume(tmp_path, cut):
    whole = dicom.save(dicom.plane(np.ones((4, 4)), "s", 1, (0, 0, 0)), tmp_path / "whole")
    content = whole.read_bytes()[:cut]
    stacks, out = [], []
    with contextlib.suppress(BadDataError):
        stacks, out = find_stacks([read_header(content, "x")])
        assert [each.place for each in out] == ["x"]
    assert stacks == []


def test_mutated_headers_end_in_a_header_or_our_error_and_nothing_is_printed(tmp_path, capfd):
    path = dicom.save(dicom.plane(np.ones((4, 4)), "s", 1, (0, 0, 0)), tmp_path / "x")
    content, rng = path.read_bytes(), np.random.default_rng(0)
    # what pydicom would print may hold a name
    warnings.simplefilter("error")
    for _ in range(400):
        broken = bytearray(content)
        for place in rng.integers(132, len(broken), 3):
            broken[place] = rng.integers(256)
        try:
            read_header(bytes(broken), "x")
        except BadDataError:
            continue
    assert capfd.readouterr() == ("", "")


def test_a_claim_of_a_billion_frames_takes_no_memory(tmp_path):
    dataset = dicom.plane(np.ones((4, 4)), "s", 1, (0, 0, 0), NumberOfFrames=1_000_000_000)
    path = dicom.save(dataset, tmp_path / "x")
    with pytest.raises(BadDataError, match="1,000,000,000 frames"):
        read_header(path.read_bytes(), "x")
