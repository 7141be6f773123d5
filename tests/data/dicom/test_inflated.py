"""Deflated DICOM is counted before it is inflated."""

import io

import pydicom
import pytest

from medssm.core.errors import BadDataError
from medssm.data.dicom import inflated
from medssm.data.dicom.headers import read_header
from medssm.data.ecg.dicom_files import read_dicom
from medssm.data.ecg.signal import ReadOptions

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def deflated():
    """Sixteen MB of zeros in a few KB."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT, "1.2.3"
    content = pydicom.Dataset()
    content.file_meta, content.preamble = meta, bytes(128)
    content.SOPClassUID, content.SOPInstanceUID, content.Modality = CT, "1.2.3", "CT"
    content.add_new("PixelData", "OW", bytes(16_000_000))
    stream = io.BytesIO()
    content.save_as(stream, enforce_file_format=True)
    assert len(stream.getvalue()) < 100_000
    return stream.getvalue()


@pytest.mark.parametrize("preamble", [True, False])
def test_what_inflates_beyond_memory_is_refused(preamble, deflated, monkeypatch, tmp_path):
    content = deflated if preamble else deflated[132:]
    assert read_header(content, "a.dcm").sop == "1.2.3"
    monkeypatch.setattr(inflated, "free_bytes", lambda: 20_000_000)
    with pytest.raises(BadDataError, match=r"a\.dcm: [\d,]+ bytes inflate to more than 1[01],"):
        read_header(content, "a.dcm")
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(BadDataError, match="inflate to more than"):
        read_dicom(tmp_path / "a.dcm", ReadOptions())


def test_files_that_are_not_deflated_are_not_counted(deflated, monkeypatch):
    monkeypatch.setattr(inflated, "free_bytes", lambda: 1)
    plain = deflated.replace(b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0")
    inflated.refuse_inflated(plain, "a.dcm")
    for cut in range(0, 400, 7):
        inflated.refuse_inflated(plain[:cut], "a.dcm")
