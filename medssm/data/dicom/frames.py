"""Planes of an enhanced multi-frame file: place and rescale a frame, from its groups."""

from typing import Any, cast

from medssm.data.dicom.headers import Plane, Triple, numbers, rescale


def enhanced_planes(dataset: Any) -> tuple[Plane, ...]:
    """The planes of Enhanced CT, Enhanced MR and Legacy Converted images.

    What a frame's own functional groups do not say is taken from the shared ones.

    Args:
        dataset: The header, a pydicom Dataset.

    Source:
        DICOM PS3.3 C.7.6.16, multi-frame functional groups.
    """
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = dataset.PerFrameFunctionalGroupsSequence
    return tuple(_plane(index, frame, shared) for index, frame in enumerate(frames))


def _plane(index: int, frame: Any, shared: Any) -> Plane:
    position = _item(frame, shared, "PlanePositionSequence")
    orientation = _item(frame, shared, "PlaneOrientationSequence")
    measures = _item(frame, shared, "PixelMeasuresSequence")
    values = _item(frame, shared, "PixelValueTransformationSequence")
    content = _item(frame, shared, "FrameContentSequence")
    slope, intercept = rescale(values)
    return Plane(
        frame=index,
        position=cast("Triple | None", numbers(position.get("ImagePositionPatient"), 3)),
        orientation=numbers(orientation.get("ImageOrientationPatient"), 6),
        spacing_mm=cast("tuple[float, float] | None", numbers(measures.get("PixelSpacing"), 2)),
        slope=slope,
        intercept=intercept,
        order=_order(content, index),
        group=_group(frame, shared, content),
    )


def _order(content: Any, index: int) -> tuple[int, ...]:
    value = content.get("DimensionIndexValues")
    if value is None:
        return (index,)
    return tuple(int(each) for each in (value if not isinstance(value, int) else [value]))


def _group(frame: Any, shared: Any, content: Any) -> tuple[str, ...]:
    kernel = _item(frame, shared, "CTReconstructionSequence").get("ConvolutionKernel")
    kind = _item(frame, shared, "CTImageFrameTypeSequence").get("FrameType")
    return (
        _joined(kernel),
        _joined(list(kind)[2:] if kind is not None else None),
        str(content.get("TemporalPositionIndex") or ""),
        str(content.get("StackID") or ""),
    )


def _joined(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else "/".join(map(str, value))


def _item(frame: Any, shared: Any, name: str) -> Any:
    """The one item of a functional group, of the frame or else of all; empty where neither."""
    for owner in (frame, shared):
        if owner is not None and owner.get(name):
            return owner.get(name)[0]
    return {}
