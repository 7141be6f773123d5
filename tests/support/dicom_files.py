"""DICOM files from arrays: single planes, enhanced multi-frame, compressed, other objects."""

import hashlib
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.22"
STATE = "1.2.840.10008.5.1.4.1.1.11.1"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def uid(*words):
    """A UID that is the same for the same words."""
    number = int(hashlib.sha256("|".join(map(str, words)).encode()).hexdigest()[:24], 16)
    return f"1.2.826.0.1.3680043.10.{number}"


def base(series, instance, *, sop_class=CT, modality="CT", patient="patient"):
    """The part that every object has."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(series, instance)
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID = uid("study", patient)
    dataset.SeriesInstanceUID = uid("series", series)
    dataset.FrameOfReferenceUID = uid("frame", patient)
    dataset.PatientID = patient
    dataset.PatientName = f"Name^{patient}"
    dataset.Modality = modality
    dataset.InstanceNumber = instance
    return dataset


def plane(stored, series, instance, position, *, signed=False, bits=16, **tags):
    """One plane of stored values (rows, columns); `tags` override any element."""
    head = {name: tags.pop(name) for name in ("sop_class", "modality", "patient") if name in tags}
    dataset = base(series, instance, **head)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [float(each) for each in position]
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.PixelSpacing = [4.0, 4.0]
    dataset.SliceThickness = 3.0
    dataset.ConvolutionKernel = "B30f"
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    pixels(dataset, stored, signed=signed, bits=bits)
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def pixels(dataset, stored, *, signed=False, bits=16):
    """Put stored values into a data set."""
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    if stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)


def enhanced(stored, series, frames, *, patient="patient"):
    """An Enhanced CT of stored values (frames, rows, columns).

    Args:
        stored: The pixels.
        series: Names it.
        frames: One dict a frame: position, slope, intercept, index (dimension values).
        patient: Whose it is.
    """
    dataset = base(series, 1, sop_class=ENHANCED_CT, patient=patient)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    pixels(dataset, stored)
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=list(AXIAL))
    shared.PixelMeasuresSequence = _item(PixelSpacing=[4.0, 4.0], SliceThickness=3.0)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for frame in frames:
        group = Dataset()
        group.PlanePositionSequence = _item(
            ImagePositionPatient=list(map(float, frame["position"]))
        )
        group.PixelValueTransformationSequence = _item(
            RescaleSlope=frame.get("slope", 1), RescaleIntercept=frame.get("intercept", -1024),
            RescaleType="HU",
        )  # fmt: skip
        group.FrameContentSequence = _item(DimensionIndexValues=list(frame["index"]))
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return dataset


def _item(**values):
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Sequence([item])


def save(dataset, path):
    """Write a data set whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def compress(dataset, syntax):
    """The same data set under another transfer syntax."""
    if syntax == pydicom.uid.JPEGLosslessSV1:
        return _by_gdcm(dataset)
    plugins = {
        pydicom.uid.JPEG2000Lossless: "pylibjpeg", pydicom.uid.JPEGLSLossless: "pyjpegls",
        pydicom.uid.RLELossless: "pydicom",
    }  # fmt: skip
    dataset.compress(syntax, encoding_plugin=plugins[syntax], generate_instance_uid=False)
    return dataset


def _by_gdcm(dataset):
    import tempfile

    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain", Path(folder) / "packed"
        save(dataset, plain)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        found = pydicom.dcmread(packed)
        found.SOPInstanceUID = dataset.SOPInstanceUID
        return found


def as_stored(hu, intercept=-1024):
    """HU (x, y, z) as stored planes (z, rows, columns) for slope 1."""
    return np.transpose(hu, (2, 1, 0)).astype(np.int64) - intercept
