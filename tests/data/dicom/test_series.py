"""Each trap of a hospital's folder ends in a volume or in a line that says what is left out."""

import numpy as np
import pydicom
import pytest

from medssm.data.dicom.scan import any_dicom, files_below, scan_files
from medssm.data.dicom.screening import StackRules
from medssm.data.dicom.series import describe, sort_series
from medssm.data.dicom.volumes import read_stack
from tests.support import dicom_files as dicom
from tests.support.ct_archive import phantom
from tests.support.dicom_series import SPACING, TO_RAS, oblique, write_series

SHAPE = (9, 8, 7)


def look(folder, without=None, **rules):
    rules = StackRules(**{"modality": None, **rules})
    volumes, notes = sort_series(scan_files(files_below(folder, without)), rules, lambda s: s[-4:])
    return volumes, {(note.series, note.reason): note for note in notes}


def reasons(notes):
    return sorted(reason for _, reason in notes)


def content(place):
    with open(place, "rb") as stream:  # noqa: PTH123 - a place is text here
        return stream.read()


def test_one_missing_slice_is_interpolated_and_told(tmp_path):
    hu = phantom(1, SHAPE)
    write_series(tmp_path, hu, "s", leave_out=(3,))
    (volume,), notes = look(tmp_path)
    assert notes == {}
    assert "1 missing slice(s) interpolated" in describe(volume, "predicted").action
    found = read_stack(volume.stack, content).voxels
    np.testing.assert_allclose(found[:, :, 3], (hu[:, :, 2] + hu[:, :, 4]) / 2, atol=1e-3)
    np.testing.assert_array_equal(np.delete(found, 3, 2), np.delete(hu, 3, 2))


def test_a_wide_gap_splits_and_short_pieces_are_a_fault(tmp_path):
    write_series(tmp_path, phantom(1, (9, 8, 40)), "s", leave_out=range(25, 35))
    (volume,), notes = look(tmp_path)
    assert len(volume.stack.slots) == 25
    (note,) = notes.values()
    assert note.reason == "piece-too-short"
    assert note.found == "5 file(s) of CT"
    assert note.fault


def test_one_duplicate_is_left_out_and_no_fault(tmp_path):
    write_series(tmp_path / "s", phantom(1, SHAPE), "s")
    (tmp_path / "again").write_bytes(next((tmp_path / "s").iterdir()).read_bytes())
    (volume,), notes = look(tmp_path)
    assert len(volume.stack.slots) == 7
    (note,) = notes.values()
    assert (note.series, note.reason, note.fault) == (volume.name, "duplicate-instance", False)


def test_two_series_mixed_in_a_folder_are_two_volumes(tmp_path):
    both = {"a": phantom(1, SHAPE), "b": phantom(2, SHAPE)}
    for name, hu in both.items():
        write_series(tmp_path / name, hu, name)
        for file in (tmp_path / name).iterdir():
            file.rename(tmp_path / f"{file.name}{name}")
    volumes, notes = look(tmp_path)
    assert notes == {}
    found = [read_stack(each.stack, content).voxels for each in volumes]
    assert {tuple(each.ravel()) for each in found} == {
        tuple(each.ravel()) for each in both.values()
    }
    assert len({each.name for each in volumes}) == 2


def test_localizers_reports_and_strays_are_no_fault_and_damage_is(tmp_path):
    write_series(tmp_path / "s", phantom(1, SHAPE), "s")
    stored = dicom.as_stored(phantom(1, SHAPE))[0]
    scout = dicom.plane(
        stored, "scout", 1, (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    dicom.save(scout, tmp_path / "SCOUT")
    dicom.save(dicom.base("r", 1, sop_class=dicom.REPORT, modality="SR"), tmp_path / "REPORT")
    vendor = dicom.base("v", 1, sop_class="1.3.12.2.1107.5.9.1", modality="MR")
    dicom.save(vendor, tmp_path / "PROTOCOL")
    (tmp_path / "AUTORUN.INF").write_text("[autorun]")
    (tmp_path / "EMPTY").touch()
    broken = bytearray(next((tmp_path / "s").iterdir()).read_bytes())
    (tmp_path / "BROKEN").write_bytes(bytes(broken[:150]) + b"\xff" * 60)
    volumes, notes = look(tmp_path)
    assert len(volumes) == 1
    assert {reason: notes[key].fault for key in notes for reason in [key[1]]} == {
        "localizer": False, "report-or-state": False, "not-an-image": False, "empty-file": True,
        "unreadable": True,
    }  # fmt: skip


def test_uneven_positions_are_quarantined_and_even_ones_are_volumes(tmp_path):
    for turn in range(2):
        hu = phantom(turn, SHAPE)
        write_series(
            tmp_path / f"even{turn}", hu, "even",
            change=lambda i, d, t=turn: setattr(d, "SOPInstanceUID", dicom.uid("even", t, i)),
        )  # fmt: skip
        write_series(
            tmp_path / f"odd{turn}", phantom(7 + turn, SHAPE), "odd",
            leave_out=(6,) if turn else (),
            change=lambda i, d, t=turn: setattr(d, "SOPInstanceUID", dicom.uid("odd", t, i)),
        )  # fmt: skip
    volumes, notes = look(tmp_path)
    assert [each.name[-2:] for each in volumes] == ["-1", "-2"]
    (note,) = notes.values()
    assert (note.reason, note.found, note.fault) == ("uneven-repeats", "13 file(s) of CT", True)
    assert "(1 to 2 images a position)" in note.action


def test_each_slice_has_its_own_rescale(tmp_path):
    hu = phantom(3, SHAPE)

    def own(index, dataset):
        slope = 1 + index
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, -1024
        stored = np.rint((hu[:, :, index].T + 1024) / slope)
        dataset.PixelData = stored.astype("<u2").tobytes()

    write_series(tmp_path, hu, "s", change=own)
    (volume,), _ = look(tmp_path)
    assert "rescaled slice by slice" in describe(volume, "predicted").action
    assert np.abs(read_stack(volume.stack, content).voxels - hu).max() <= 3.5


def test_a_tilted_gantry_is_sheared_or_left_out(tmp_path):
    write_series(tmp_path, phantom(1, SHAPE), "s", step=(0, 1.0, 3.0))
    (volume,), _ = look(tmp_path)
    assert "gantry tilt sheared back" in describe(volume, "predicted").action
    volumes, notes = look(tmp_path, tilt="reject")
    assert volumes == []
    assert reasons(notes) == ["tilted"]


@pytest.mark.parametrize("bad", ["1.2/../../3", "1.2.evil", "1" * 65])
def test_a_uid_of_other_signs_is_refused(tmp_path, bad):
    with pydicom.config.disable_value_validation():
        write_series(tmp_path, phantom(1, SHAPE), "s", SeriesInstanceUID=bad)
    volumes, notes = look(tmp_path)
    assert volumes == []
    (note,) = notes.values()
    assert (note.series, note.reason, note.fault) == ("-", "uid-of-forbidden-signs", True)


def test_series_without_uids_are_told_apart_by_folder_and_named_by_content(tmp_path):
    for name in ("a", "b"):
        write_series(
            tmp_path / name, phantom(1 if name == "a" else 2, SHAPE), name,
            SeriesInstanceUID="", StudyInstanceUID="",
        )  # fmt: skip
    before = {each.name for each in look(tmp_path)[0]}
    assert len(before) == 2
    (tmp_path / "a").rename(tmp_path / "z")
    (tmp_path / "z/copy").write_bytes(next((tmp_path / "z").iterdir()).read_bytes())
    assert {each.name for each in look(tmp_path)[0]} == before


def test_files_of_the_output_folder_are_no_input(tmp_path):
    write_series(tmp_path / "in", phantom(1, SHAPE), "s")
    write_series(tmp_path / "in/out", phantom(2, SHAPE), "other")
    assert len(look(tmp_path / "in", tmp_path / "in/out")[0]) == 1


def test_dicom_is_told_by_content(tmp_path):
    (tmp_path / "image.dcm").write_bytes(b"not DICOM" * 40)
    assert not any_dicom(files_below(tmp_path))
    write_series(tmp_path / "s", phantom(1, SHAPE), "s")
    next((tmp_path / "s").iterdir()).rename(tmp_path / "x.nii.gz")
    assert any_dicom([tmp_path / "x.nii.gz"])


def test_nothing_of_a_patient_is_in_notes(tmp_path):
    write_series(
        tmp_path / "SECRET^NAME", phantom(1, SHAPE), "s", patient="Secret",
        leave_out=range(5), SeriesDescription="Secret head",
    )  # fmt: skip
    _, notes = look(tmp_path)
    assert reasons(notes) == ["too-few-slices"]
    assert "SECRET" not in repr(notes).upper()


def test_the_affine_of_an_oblique_series_is_that_of_its_positions(tmp_path):
    affine = write_series(tmp_path, phantom(1, SHAPE), "s", turn=oblique())
    (volume,), _ = look(tmp_path)
    found = read_stack(volume.stack, content).affine
    np.testing.assert_allclose(found, TO_RAS @ affine, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found[:3, :3], axis=0), SPACING, atol=1e-6)


def test_the_paths_of_a_dicomdir_are_not_followed(tmp_path):
    write_series(tmp_path / "outside", phantom(2, SHAPE), "secret")
    next((tmp_path / "outside").iterdir()).rename(tmp_path / "outside/SECRET")
    write_series(tmp_path / "in/DICOM", phantom(1, SHAPE), "s")
    directory = dicom.base("directory", 1, sop_class="1.2.840.10008.1.3.10", modality="")
    record = pydicom.Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.ReferencedFileID = ["..", "outside", "SECRET"]
    directory.DirectoryRecordSequence = [record]
    dicom.save(directory, tmp_path / "in/DICOMDIR")
    (volume,), notes = look(tmp_path / "in")
    assert volume.header.series == dicom.uid("series", "s")
    assert [(reason, note.fault) for (_, reason), note in notes.items()] == [("dicomdir", False)]
