"""SEG and RTSTRUCT say the labels where they are in the patient, and of which images."""

import highdicom
import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Polygon

from medssm.core.errors import BadDataError
from medssm.data.dicom.codes import OURS, coded_term
from medssm.data.dicom.contours import outlines
from medssm.data.dicom.scan import files_below, scan_files
from medssm.data.dicom.screening import StackRules
from medssm.data.dicom.segmentation_object import Author, write_segmentation
from medssm.data.dicom.series import sort_series
from medssm.data.dicom.source_grid import to_source_planes
from medssm.data.dicom.source_headers import source_headers
from medssm.data.dicom.structure_set import write_structures
from medssm.data.dicom.volumes import read_stack
from tests.support import dicom_files as dicom
from tests.support.ct_archive import phantom
from tests.support.dicom_series import TO_RAS, ball, inside, oblique, write_series
from tests.support.shared import shared_folder

SHAPE = (40, 36, 20)
AUTHOR = Author("lightm_unet", "0.1.0", "0123456789abcdef0123")
SEGMENTS = {"liver": (1,), "kidney_left": (2,), "strange thing of ours": (3,)}


def content(place):
    with open(place, "rb") as stream:  # noqa: PTH123 - a place is text here
        return stream.read()


def volumes_of(folder):
    return sort_series(scan_files(files_below(folder)), StackRules(modality=None), lambda s: s)[0]


def stack_of(folder):
    (volume,) = volumes_of(folder)
    return volume.stack


def planes_of(stack, labels, affine=None):
    planes = to_source_planes(labels, read_stack(stack, content).affine, stack)
    return planes, source_headers(planes.slots, content)


def seg_labels(file, planes):
    """Segment numbers as highdicom reads them, at the planes."""
    seg = highdicom.seg.segread(file)
    slots = planes.slots
    if len(slots[0].header.planes) > 1:
        return seg.get_pixels_by_source_frame(
            slots[0].header.sop, [slot.plane.frame + 1 for slot in slots], combine_segments=True,
            assert_missing_frames_are_empty=True,
        )  # fmt: skip
    return seg.get_pixels_by_source_instance(
        [slot.header.sop for slot in slots], combine_segments=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip


def rasterised(file, name, affine, shape):
    """Voxels (x, y, z) whose centre lies in the outlines, by geometry alone."""
    dataset = pydicom.dcmread(file)
    (number,) = [r.ROINumber for r in dataset.StructureSetROISequence if r.ROIName == name]
    (contours,) = [r for r in dataset.ROIContourSequence if r.ReferencedROINumber == number]
    out = np.zeros(shape, dtype=bool)
    centres = np.indices(shape[:2]).reshape(2, -1).T
    back = np.linalg.inv(affine)
    for contour in contours.ContourSequence:
        corners = np.reshape(np.array(contour.ContourData, dtype=float), (-1, 3))
        index = np.column_stack([corners, np.ones(len(corners))]) @ back.T
        z = round(float(index[0, 2]))
        assert np.abs(index[:, 2] - z).max() < 1e-3
        out[:, :, z] ^= Polygon(index[:, :2]).contains_points(centres).reshape(shape[:2])
    return out


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture(scope="module")
def slanted(tmp_path_factory):
    """An oblique series with labels at known places, written as both objects."""
    folder = tmp_path_factory.mktemp("slanted")
    affine = write_series(folder / "series", phantom(1, SHAPE), "s", turn=oblique())
    centres = [inside(affine, SHAPE, part) for part in ((0.35, 0.4, 0.5), (0.75, 0.6, 0.4))]
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for value, centre in enumerate(centres, start=1):
        labels[ball(affine, SHAPE, centre, 12.0)] = value
    stack = stack_of(folder / "series")
    planes, sources = planes_of(stack, labels)
    write_segmentation(folder / "seg.dcm", planes, sources, SEGMENTS, AUTHOR)
    write_segmentation(folder / "map.dcm", planes, sources, SEGMENTS, AUTHOR, "LABELMAP")
    assert write_structures(folder / "rt.dcm", planes, sources, SEGMENTS, AUTHOR)
    return folder, affine, centres, labels, planes


@pytest.mark.parametrize("name", ["seg.dcm", "map.dcm"])
def test_seg_read_back_is_the_label_map_voxel_by_voxel(slanted, name):
    folder, _, _, labels, planes = slanted
    np.testing.assert_array_equal(
        seg_labels(folder / name, planes), labels.transpose(2, 1, 0)
    )  # fmt: skip


def test_seg_lies_in_the_patient_where_the_structure_is(slanted):
    folder, _, centres, _, _ = slanted
    volume = highdicom.seg.segread(folder / "seg.dcm").get_volume(combine_segments=True)
    for value, centre in enumerate(centres, start=1):
        places = np.argwhere(volume.array == value) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        assert np.linalg.norm(places.mean(axis=0) - centre) < 0.5
        assert np.linalg.norm(places - centre, axis=1).max() <= 12.001


def test_outlines_lie_in_the_patient_where_the_structure_is(slanted):
    folder, affine, centres, labels, _ = slanted
    for value, (name, centre) in enumerate(zip(SEGMENTS, centres, strict=False), start=1):
        found = rasterised(folder / "rt.dcm", name, affine, SHAPE)
        assert dice(found, labels == value) > 0.999
        dataset = pydicom.dcmread(folder / "rt.dcm")
        corners = np.concatenate([
            np.reshape(np.array(c.ContourData, dtype=float), (-1, 3))
            for c in dataset.ROIContourSequence[value - 1].ContourSequence
        ])  # fmt: skip
        # half a pixel beyond the outermost centres
        assert np.linalg.norm(corners - centre, axis=1).max() < 12.0 + 1.3


def test_both_refer_to_every_instance_of_their_source(slanted):
    folder, _, _, _, planes = slanted
    instances = {slot.header.sop for slot in planes.slots}
    header = planes.slots[0].header
    seg = pydicom.dcmread(folder / "seg.dcm")
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == header.series
    named = {each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence}
    assert named == instances
    for group in seg.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        place = group.PlanePositionSequence[0].ImagePositionPatient
        (slot,) = [s for s in planes.slots if s.header.sop == source.ReferencedSOPInstanceUID]
        np.testing.assert_allclose(np.array(place, dtype=float), slot.plane.position, atol=1e-6)
    rt = pydicom.dcmread(folder / "rt.dcm")
    for each in (seg, rt):
        assert each.FrameOfReferenceUID == header.reference
        assert each.StudyInstanceUID == header.study
        assert each.PatientName == "Name^patient"
        assert each.SeriesInstanceUID != header.series
    (frame,) = rt.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == header.reference
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert {each.ReferencedSOPInstanceUID for each in series.ContourImageSequence} == instances
    for structure in rt.ROIContourSequence:
        for contour in structure.ContourSequence:
            (image,) = contour.ContourImageSequence
            (slot,) = [s for s in planes.slots if s.header.sop == image.ReferencedSOPInstanceUID]
            corners = np.reshape(np.array(contour.ContourData, dtype=float), (-1, 3))
            row, column = np.reshape(slot.plane.orientation, (2, 3))
            heights = (corners - slot.plane.position) @ np.cross(row, column)
            assert np.abs(heights).max() < 1e-3
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert contour.NumberOfContourPoints == len(corners)


def test_segments_say_what_they_are_and_who_made_them(slanted):
    folder, *_ = slanted
    seg = pydicom.dcmread(folder / "seg.dcm")
    liver, kidney, ours = seg.SegmentSequence
    assert (liver.SegmentLabel, liver.SegmentAlgorithmType) == ("liver", "AUTOMATIC")
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    private = ours.SegmentedPropertyTypeCodeSequence[0]
    assert private.CodingSchemeDesignator == OURS
    assert private.CodeMeaning == "strange thing of ours"
    assert len(private.CodeValue) <= 16
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("lightm_unet", "0.1.0")
    assert seg.SegmentationType == "BINARY"
    assert pydicom.dcmread(folder / "map.dcm").SegmentationType == "LABELMAP"
    # a structure without outlines is none
    rt = pydicom.dcmread(folder / "rt.dcm")
    assert [each.ROIName for each in rt.StructureSetROISequence] == ["liver", "kidney_left"]


def test_the_same_labels_get_the_same_uids_and_others_get_others(slanted, tmp_path):
    folder, _, _, labels, planes = slanted
    _, sources = planes_of(stack_of(folder / "series"), labels)
    write_segmentation(tmp_path / "again", planes, sources, SEGMENTS, AUTHOR)
    before, again = (pydicom.dcmread(each) for each in (folder / "seg.dcm", tmp_path / "again"))
    assert before.SOPInstanceUID == again.SOPInstanceUID
    other, _ = planes_of(stack_of(folder / "series"), labels[::-1])
    write_segmentation(tmp_path / "other", other, sources, SEGMENTS, AUTHOR)
    assert pydicom.dcmread(tmp_path / "other").SOPInstanceUID != before.SOPInstanceUID


def test_regions_that_overlap_are_each_whole(slanted, tmp_path):
    folder, _, _, labels, _ = slanted
    planes, sources = planes_of(stack_of(folder / "series"), labels)
    regions = {"whole": (1, 2), "core": (2,)}
    write_segmentation(tmp_path / "seg", planes, sources, regions, AUTHOR)
    found = highdicom.seg.segread(tmp_path / "seg").get_pixels_by_source_instance(
        [slot.header.sop for slot in planes.slots], assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(found[..., 0], planes.labels > 0)
    np.testing.assert_array_equal(found[..., 1], planes.labels == 2)
    with pytest.raises(BadDataError, match="overlap"):
        write_segmentation(tmp_path / "m", planes, sources, regions, AUTHOR, "LABELMAP")
    assert not (tmp_path / "m").exists()


def test_a_missing_slice_is_in_the_volume_and_in_no_object(tmp_path):
    write_series(tmp_path / "s", phantom(1, SHAPE), "s", leave_out=(7,))
    labels = np.ones(SHAPE, dtype=np.uint8)
    planes, sources = planes_of(stack_of(tmp_path / "s"), labels)
    assert planes.labels.shape == (19, 36, 40)
    write_segmentation(tmp_path / "seg", planes, sources, {"liver": (1,)}, AUTHOR)
    assert seg_labels(tmp_path / "seg", planes).all()
    assert write_structures(tmp_path / "rt", planes, sources, {"liver": (1,)}, AUTHOR)
    (structure,) = pydicom.dcmread(tmp_path / "rt").ROIContourSequence
    assert len(structure.ContourSequence) == 19


def test_a_tilt_goes_back_to_the_planes_of_the_files(tmp_path):
    step = (0.0, 1.2, 3.0)
    affine = write_series(tmp_path / "probe", phantom(1, SHAPE), "probe", step=step)
    centre = inside(affine, SHAPE, (0.5, 0.5, 0.5))
    truth = ball(affine, SHAPE, centre, 14.0)
    hu = np.where(truth, 500, -500)
    write_series(tmp_path / "s", hu, "s", step=step)
    stack = stack_of(tmp_path / "s")
    assert stack.tilted
    volume = read_stack(stack, content)
    labels = (volume.voxels > 0).astype(np.uint8)
    # upright the structure is a ball where it was
    upright = ball(TO_RAS @ volume.affine, labels.shape, centre, 14.0)
    assert dice(labels > 0, upright) > 0.95
    planes, sources = planes_of(stack, labels)
    assert dice(planes.labels > 0, truth.transpose(2, 1, 0)) > 0.95
    write_segmentation(tmp_path / "seg", planes, sources, {"liver": (1,)}, AUTHOR)
    np.testing.assert_array_equal(seg_labels(tmp_path / "seg", planes), planes.labels)
    assert write_structures(tmp_path / "rt", planes, sources, {"liver": (1,)}, AUTHOR)
    assert dice(rasterised(tmp_path / "rt", "liver", affine, SHAPE), truth) > 0.95


def test_a_file_of_frames_is_referred_to_by_frame(tmp_path):
    hu = phantom(1, (9, 8, 14))
    # two stacks in one file, at the same positions as far as they go
    frames = [{"position": (0, 0, 3.0 * z), "index": [1, z + 1]} for z in range(8)]
    frames += [{"position": (0, 0, 3.0 * z), "index": [2, z + 1]} for z in range(6)]
    stored = dicom.as_stored(hu)
    dataset = dicom.enhanced(stored, "e", frames)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        stack_id = str(group.FrameContentSequence[0].DimensionIndexValues[0])
        group.FrameContentSequence[0].StackID = stack_id
    dicom.save(dataset, tmp_path / "in/e")
    first, second = (each.stack for each in volumes_of(tmp_path / "in"))
    for name, stack in (("a", first), ("b", second)):
        shape = (9, 8, len(stack.slots))
        labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
        planes, sources = planes_of(stack, labels)
        segments = {"liver": (1,), "spleen": (2,)}
        write_segmentation(tmp_path / name, planes, sources, segments, AUTHOR)
        np.testing.assert_array_equal(
            seg_labels(tmp_path / name, planes), labels.transpose(2, 1, 0)
        )  # fmt: skip
        assert write_structures(tmp_path / f"{name}rt", planes, sources, segments, AUTHOR)
        structure = pydicom.dcmread(tmp_path / f"{name}rt").ROIContourSequence[0]
        named = {c.ContourImageSequence[0].ReferencedFrameNumber for c in structure.ContourSequence}
        assert named <= {slot.plane.frame + 1 for slot in planes.slots}


def test_odd_and_absent_values_of_the_source_do_not_stop_an_object(tmp_path):
    def odd(_, dataset):
        dataset.PatientSex, dataset.StudyDate, dataset.PatientAge = "X", "yesterday", "forty"
        dataset.PatientBirthDate = "00000000"
        dataset.add_new((0x0009, 0x0010), "LO", "SOMEONE")
        dataset.add_new((0x0009, 0x1001), "OB", b"private")
        del dataset.FrameOfReferenceUID, dataset.SliceThickness
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller^Jörg"

    with pydicom.config.disable_value_validation():
        write_series(tmp_path / "s", phantom(1, (9, 8, 7)), "s", change=odd, StudyInstanceUID="")
    planes, sources = planes_of(stack_of(tmp_path / "s"), np.ones((9, 8, 7), dtype=np.uint8))
    segments = {"肝臓": (1,)}
    write_segmentation(tmp_path / "seg", planes, sources, segments, AUTHOR)
    assert write_structures(tmp_path / "rt", planes, sources, segments, AUTHOR)
    assert pydicom.dcmread(tmp_path / "seg").SegmentSequence[0].SegmentLabel == "肝臓"
    assert pydicom.dcmread(tmp_path / "rt").StructureSetROISequence[0].ROIName == "肝臓"
    for name in ("seg", "rt"):
        made = pydicom.dcmread(tmp_path / name)
        assert made.StudyInstanceUID
        assert made.FrameOfReferenceUID
        assert not any(element.tag.is_private for element in made)
        assert str(made.PatientName) == "Müller^Jörg"
    assert seg_labels(tmp_path / "seg", planes).all()


def test_no_label_at_all_is_an_empty_seg_and_no_structure_set(tmp_path):
    write_series(tmp_path / "s", phantom(1, (9, 8, 7)), "s")
    planes, sources = planes_of(stack_of(tmp_path / "s"), np.zeros((9, 8, 7), dtype=np.uint8))
    write_segmentation(tmp_path / "seg", planes, sources, {"liver": (1,)}, AUTHOR)
    assert not seg_labels(tmp_path / "seg", planes).any()
    assert not write_structures(tmp_path / "rt", planes, sources, {"liver": (1,)}, AUTHOR)
    assert not (tmp_path / "rt").exists()


@pytest.mark.parametrize("seed", range(6))
def test_pixels_whose_centre_is_in_an_outline_are_the_mask(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((23, 31)) < (0.15, 0.3, 0.5, 0.6, 0.7, 0.9)[seed]
    found = np.zeros(mask.shape, dtype=bool)
    rows, columns = np.indices(mask.shape)
    for corners in outlines(mask):
        found ^= _even_odd(corners, columns, rows)
    np.testing.assert_array_equal(found, mask)


def _even_odd(corners, x, y):
    """Crossings of a ray along x; no corner lies at the height of a centre by the shift."""
    inside = np.zeros(x.shape, dtype=bool)
    height = y + 1e-6
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y0 > height) != (y1 > height)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = x0 + (height - y0) / (y1 - y0) * (x1 - x0)
        inside ^= crosses & (x < at)
    return inside


def test_holes_within_holes_are_kept_by_keyholes():
    rows, columns = np.indices((41, 41))
    radius = np.hypot(rows - 20, columns - 20)
    mask = (radius < 19) & ~((radius < 14) & (radius >= 9)) & ~(radius < 3)
    polygons = list(outlines(mask))
    # the ring and the ring within: each with its hole joined to it
    assert len(polygons) == 2


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("liver", "10200004"), ("Vertebrae_L1", "66794005"), ("lung_upper_lobe_left", "45653009"),
        ("left ventricle", "87878005"), ("tumor", "108369006"), ("urinary_bladder", "89837001"),
    ],
)  # fmt: skip
def test_known_names_get_their_code(label, value):
    term = coded_term(label)
    assert (term.kind.value, term.kind.scheme_designator) == (value, "SCT")


@pytest.mark.parametrize("label", ["anterior", "label_1", "Ü", "", "left", "x" * 300])
def test_other_names_get_a_code_of_ours(label):
    term = coded_term(label)
    assert term.kind.scheme_designator == OURS
    assert 0 < len(term.kind.value) <= 16
    assert 0 < len(term.kind.meaning) <= 64


def test_real_series_are_read_as_simpleitk_reads_them():
    import SimpleITK

    volumes = volumes_of(shared_folder("data/dicom"))
    assert len(volumes) == 4
    for each in volumes:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames([slot.header.place for slot in each.stack.slots])
        image = reader.Execute()
        found = read_stack(each.stack, content)
        lps = TO_RAS @ found.affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        np.testing.assert_allclose(spacing, image.GetSpacing(), atol=1e-5)
        np.testing.assert_allclose(lps[:3, 3], image.GetOrigin(), atol=1e-6)
        direction = np.reshape(image.GetDirection(), (3, 3))
        np.testing.assert_allclose(lps[:3, :3] / spacing, direction, atol=1e-5)
        voxels = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
        np.testing.assert_array_equal(found.voxels, voxels)
