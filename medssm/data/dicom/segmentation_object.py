"""DICOM SEG: a label map as a segmentation of its source images, a segment a label."""

import colorsys
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.data.dicom.codes import CodedTerm, coded_term
from medssm.data.dicom.headers import EXTRA, blake
from medssm.data.dicom.silence import quiet
from medssm.data.dicom.source_grid import SourcePlanes

SegKind = Literal["BINARY", "LABELMAP"]
_FIRST_NUMBER = 1000
_LARGEST = 10**8


@dataclass(frozen=True)
class Author:
    """Which program and model made an object.

    Args:
        name: Of the algorithm.
        version: Of the program.
        model: Tells models apart, a hash.
    """

    name: str
    version: str
    model: str


def write_segmentation(
    path: Path,
    planes: SourcePlanes,
    sources: Sequence[Any],
    segments: Mapping[str, Sequence[int]],
    author: Author,
    kind: SegKind = "BINARY",
) -> None:
    """Write labels as DICOM SEG, whole or not at all.

    Args:
        path: The file.
        planes: Labels at the pixels of the source images.
        sources: Headers of the source images, as `source_headers` gives them.
        segments: Name of every segment to the label values in it, in order; they may overlap.
        author: What made the labels.
        kind: "BINARY" with one bit a segment and pixel, which viewers read, or "LABELMAP".

    Raises:
        BadDataError: The volume spreads over several files of several frames, or segments overlap
            in a label map.
        MachineError: The extra `dicom` is missing.

    Source:
        DICOM PS3.3 A.51 and C.8.20.
    """
    seg = require("highdicom.seg", EXTRA)
    require_one_file(planes, sources)
    pixels = _pixels(planes.labels, segments, kind)
    key = [author.model, author.version, kind, *instances_of(sources), *segments]
    generate = require("pydicom.uid", EXTRA).generate_uid
    with quiet(), without_value_checks(), atomic_path(path) as partial:
        made = seg.Segmentation(
            source_images=_only_frames(planes, sources),
            pixel_array=pixels,
            segmentation_type=kind,
            segment_descriptions=_descriptions(list(segments), author),
            series_instance_uid=generate(entropy_srcs=["series", *key]),
            series_number=series_number(sources[0], 0),
            sop_instance_uid=generate(entropy_srcs=["instance", *key, blake(pixels.tobytes())]),
            instance_number=1,
            manufacturer="medssm",
            manufacturer_model_name=author.name,
            software_versions=author.version,
            device_serial_number=author.model[:16],
            content_label="SEGMENTATION",
            content_description="labels of a model, not reviewed",
            series_description=f"medssm segmentation ({author.name})"[:64],
        )
        _name_true_frames(made, planes)
        made.save_as(partial)


def require_one_file(planes: SourcePlanes, sources: Sequence[Any]) -> None:
    """Refuse what a DICOM object cannot refer to as one.

    Raises:
        BadDataError: The volume spreads over several files of several frames.
    """
    if len(sources) > 1 and any(len(slot.header.planes) > 1 for slot in planes.slots):
        raise BadDataError(
            f"the volume spreads over {len(sources)} files of several frames. Expected one such "
            "file or files of one frame; go without objects: dicom=[]"
        )


def series_number(source: Any, turn: int) -> int:
    """A number for a derived series, above those that scanners count."""
    number = source.get("SeriesNumber")
    known = int(number) if number is not None and 0 <= int(number) < _LARGEST else 0
    return _FIRST_NUMBER + 10 * known + turn


def colour(index: int) -> tuple[int, int, int]:
    """A colour for a segment, far from those of its neighbours: turns of the golden angle."""
    red, green, blue = colorsys.hsv_to_rgb((index * 0.381966) % 1.0, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _only_frames(planes: SourcePlanes, sources: Sequence[Any]) -> Sequence[Any]:
    """The source as if it held the frames of the volume alone, in their order.

    A file may hold several volumes at the same positions, which highdicom does not take.
    """
    if len(planes.slots[0].header.planes) == 1:
        return sources
    only = copy.deepcopy(sources[0])
    frames = only.PerFrameFunctionalGroupsSequence
    only.PerFrameFunctionalGroupsSequence = [frames[slot.plane.frame] for slot in planes.slots]
    only.NumberOfFrames = len(planes.slots)
    return [only]


def _name_true_frames(made: Any, planes: SourcePlanes) -> None:
    """Undo what `_only_frames` did to the numbers of frames."""
    if len(planes.slots[0].header.planes) == 1:
        return
    # frames of several segments may share one item
    sources = {
        id(source): source
        for group in made.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for source in derivation.SourceImageSequence
    }
    for source in sources.values():
        slot = planes.slots[int(source.ReferencedFrameNumber) - 1]
        source.ReferencedFrameNumber = slot.plane.frame + 1


def _pixels(labels: np.ndarray, segments: Mapping[str, Sequence[int]], kind: str) -> np.ndarray:
    """Segment numbers from 1 a pixel; where segments overlap a mask a segment on the last axis."""
    members = [value for values in segments.values() for value in values]
    if len(members) > len(set(members)):
        if kind == "LABELMAP":
            raise BadDataError("regions overlap, which a label map cannot hold; take dicom=[seg]")
        masks = [np.isin(labels, list(values)) for values in segments.values()]
        return np.stack(masks, axis=-1).astype(np.uint8)
    numbers = np.zeros(max(int(labels.max(initial=0)), *members) + 1, dtype=np.uint16)
    for number, values in enumerate(segments.values(), start=1):
        numbers[list(values)] = number
    if len(segments) < 256:
        numbers = numbers.astype(np.uint8)
    return np.asarray(numbers[labels])


def _descriptions(names: Sequence[str], author: Author) -> list[Any]:
    seg = require("highdicom.seg", EXTRA)
    highdicom = require("highdicom", EXTRA)
    codes = require("pydicom.sr.codedict", EXTRA).codes
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=author.name,
        family=codes.DCM.ArtificialIntelligence,
        version=author.version,
        parameters={"model": author.model},
    )
    found = []
    for index, name in enumerate(names):
        term = coded_term(name)
        each = seg.SegmentDescription(
            segment_number=index + 1,
            segment_label=name[:64],
            segmented_property_category=term.category,
            segmented_property_type=term.kind,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            display_color=highdicom.color.CIELabColor.from_rgb(*colour(index)),
        )
        _add_side(each.SegmentedPropertyTypeCodeSequence[0], term)
        found.append(each)
    return found


def _add_side(item: Any, term: CodedTerm) -> None:
    if term.side is not None:
        concept = require("highdicom.sr", EXTRA).CodedConcept.from_code(term.side)
        item.SegmentedPropertyTypeModifierCodeSequence = [concept]


def instances_of(sources: Sequence[Any]) -> list[str]:
    """The SOP instance UIDs."""
    return [str(each.SOPInstanceUID) for each in sources]


def without_value_checks() -> Any:
    """What a source says of its patient goes over as it is, however oddly it was typed."""
    return require("pydicom.config", EXTRA).disable_value_validation()
