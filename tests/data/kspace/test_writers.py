import nibabel
import numpy as np
import pydicom
import pytest

from medssm.core.errors import BadArgumentError, BadDataError
from medssm.data.kspace_writers import read_reconstruction, write_reconstruction
from medssm.data.readers.kspace import open_kspace
from tests.support.kspace import acquisition, fastmri_file, multi_coil, raw_file, raw_header


@pytest.fixture
def placed(tmp_path):
    """A raw volume, whose position in the patient is known."""
    kspace = multi_coil(slices=3, coils=2, size=(20, 16))
    made = [
        acquisition(kspace[index, :, :, line], line, slice=index)
        for index in range(3)
        for line in range(16)
    ]
    return open_kspace(raw_file(tmp_path / "raw.h5", raw_header((20, 16, 1), (20, 16, 1), 2), made))


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.random((3, 20, 16)).astype(np.float32)


def test_the_h5_holds_what_was_given(tmp_path, placed, images):
    turned = images * np.exp(0.5j)
    files = write_reconstruction(
        tmp_path / "out" / "case.1", images, placed, complex_image=turned, uncertainty=images / 9,
        attributes={"method": "sense", "seconds": 1.5},
    )  # fmt: skip
    assert [file.name for file in files] == ["case.1.h5"]
    found = read_reconstruction(files[0])
    np.testing.assert_array_equal(found["reconstruction"], images)
    np.testing.assert_allclose(found["reconstruction_complex"], turned, rtol=1e-6)
    np.testing.assert_array_equal(found["uncertainty"], images / 9)


def test_nifti_keeps_the_position_of_every_voxel(tmp_path, placed, images):
    files = write_reconstruction(
        tmp_path / "case", images, placed, complex_image=images * 1j, formats=["nifti"]
    )
    assert [file.name for file in files] == ["case.nii.gz", "case_phase.nii.gz"]
    image = nibabel.load(files[0])
    np.testing.assert_allclose(image.affine, placed.affine)
    np.testing.assert_array_equal(image.get_fdata()[..., 2], images[2])
    np.testing.assert_allclose(nibabel.load(files[1]).get_fdata(), np.pi / 2)


def test_nifti_without_geometry_claims_none(tmp_path, images):
    volume = open_kspace(fastmri_file(tmp_path / "a.h5"))
    (file,) = write_reconstruction(tmp_path / "case", images, volume, formats=["nifti"])
    header = nibabel.load(file).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
    assert header.get_zooms() == pytest.approx((0.7, 0.7, 5.0))


def test_dicom_places_slices_as_the_scanner_did(tmp_path, placed, images):
    (folder,) = write_reconstruction(tmp_path / "case", images, placed, formats=["dicom"])
    found = [pydicom.dcmread(file) for file in sorted(folder.glob("*.dcm"))]
    assert len(found) == 3
    first = found[0]
    # rows of the image go along x: a column of pixels is the second direction
    assert list(map(float, first.ImageOrientationPatient)) == [0, 1, 0, 1, 0, 0]
    assert [list(map(float, each.ImagePositionPatient)) for each in found] == [
        [-20, -16, 0], [-20, -16, 5], [-20, -16, 10],
    ]  # fmt: skip
    assert list(map(float, first.PixelSpacing)) == [2, 2]
    pixels = first.pixel_array * float(first.RescaleSlope)
    np.testing.assert_allclose(pixels, images[0], atol=1e-4)
    assert (first.PatientID, str(first.PatientName)) == ("P7", "")
    assert len({each.SOPInstanceUID for each in found}) == 3
    assert len({each.SeriesInstanceUID for each in found}) == 1
    assert list(first.ImageType) == ["DERIVED", "PRIMARY", "M"]
    # what an MR image must have, known or empty
    assert first.ScanningSequence == "RM"
    for name in ("RepetitionTime", "EchoTime", "PatientBirthDate", "StudyDate", "AccessionNumber"):
        assert name in first
        assert not first.get(name)


def test_dicom_without_geometry_is_refused(tmp_path, images):
    volume = open_kspace(fastmri_file(tmp_path / "a.h5"))
    with pytest.raises(BadDataError, match=r"a.h5: its position and orientation are unknown"):
        write_reconstruction(tmp_path / "case", images, volume, formats=["dicom"])


def test_wrong_requests_are_refused(tmp_path, placed, images):
    with pytest.raises(BadArgumentError, match="formats"):
        write_reconstruction(tmp_path / "case", images, placed, formats=["png"])
    with pytest.raises(BadArgumentError, match="shapes"):
        write_reconstruction(tmp_path / "case", images, placed, uncertainty=images[:1])


def test_an_h5_of_another_kind_is_no_reconstruction(tmp_path):
    with pytest.raises(BadDataError, match=r"a.h5: holds .*kspace.*Expected a dataset"):
        read_reconstruction(fastmri_file(tmp_path / "a.h5"))
