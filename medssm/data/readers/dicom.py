"""A folder of DICOM files as volumes: one a geometric stack, values in HU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.dicom.headers import DicomHeader, is_dicom, read_header
from medssm.data.dicom.screening import Rejection, StackRules
from medssm.data.dicom.stacks import Stack, find_stacks
from medssm.data.dicom.volumes import StackVolume, read_stack
from medssm.data.readers.size import check_memory
from medssm.data.volume import Header

_FLOAT = 4


class DicomReader:
    """One file of several frames, or a folder that holds exactly one volume.

    Args:
        rules: What a stack must be; by default one of any modality.
    """

    def __init__(self, rules: StackRules | None = None) -> None:
        self._rules = rules or StackRules(modality=None)

    def header(self, path: Path) -> Header:
        """Geometry of the one volume, without pixels.

        Raises:
            BadDataError: No volume there, or several; the message counts both.
        """
        return _header_of(self._one(path))

    def array(self, path: Path) -> np.ndarray:
        """Voxels of the one volume, (x, y, z) as stored, HU for CT, float32."""
        return self.volume(path).voxels

    def volume(self, path: Path) -> StackVolume:
        """Voxels with the affine that belongs to them: a tilt that is undone changes both."""
        stack = self._one(path)
        check_memory(path, _shape(stack), _FLOAT)
        return read_stack(stack, lambda place: Path(place).read_bytes())

    def _one(self, path: Path) -> Stack:
        stacks, out = stacks_of(path, self._rules)
        if len(stacks) == 1:
            return stacks[0]
        counts: dict[str, int] = {}
        for each in out:
            counts[each.reason] = counts.get(each.reason, 0) + 1
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        sizes = ", ".join("x".join(map(str, _shape(stack))) for stack in stacks[:5])
        raise BadDataError(
            f"{path}: holds {len(stacks)} volumes{f' ({sizes})' if sizes else ''}"
            f"{f'; left out: {why}' if why else ''}. Expected one series of one geometry; put "
            "each series into a folder of its own."
        )


def stacks_of(path: Path, rules: StackRules | None = None) -> tuple[list[Stack], list[Rejection]]:
    """All volumes of a file or of a folder and its sub-folders; nothing is decoded.

    Raises:
        BadDataError: A file is damaged.
    """
    return find_stacks(headers_of(path), rules or StackRules(modality=None))


def headers_of(path: Path) -> list[DicomHeader]:
    """The headers of every DICOM file under a folder, by content and not by name."""
    files: Sequence[Path] = [path] if path.is_file() else sorted(path.rglob("*"))
    return [
        read_header(file.read_bytes(), str(file))
        for file in files
        if file.is_file() and is_dicom_file(file)
    ]


def is_dicom_file(path: Path) -> bool:
    """Whether a file begins as DICOM does."""
    with path.open("rb") as stream:
        return is_dicom(stream.read(132))


def _shape(stack: Stack) -> tuple[int, int, int]:
    header = stack.first.header
    return header.columns, header.rows, len(stack.slots)


def _header_of(stack: Stack) -> Header:
    """What the stack's own headers say; a tilted one is not yet sheared back."""
    from medssm.data.dicom.volumes import stack_affine

    affine = stack_affine(stack)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Header(
        _shape(stack),
        tuple(float(each) for each in spacing),
        affine,
        "float32",
        warnings=tuple(str(flag) for flag in stack.flags),
    )
