"""A case of DICOM series: volumes staged while they are predicted, objects beside labels."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import RECORDS, atomic_path, digest, read_json, sha256, write_json
from medssm.data.dicom.regrid import on_grid_of
from medssm.data.dicom.segmentation_object import Author, write_segmentation
from medssm.data.dicom.source_grid import to_source_planes
from medssm.data.dicom.source_headers import source_headers
from medssm.data.dicom.stacks import Stack
from medssm.data.dicom.structure_set import write_structures
from medssm.data.dicom.volumes import StackVolume, read_stack
from medssm.data.readers import reader_of
from medssm.data.readers.size import check_memory

OBJECTS_FOLDER = "dicom"
ObjectKind = Literal["seg", "labelmap", "rtstruct"]
_FLOAT_BYTES = 4
# code of a grid that the scanner gave
_SCANNER = 1


@dataclass(frozen=True)
class Objects:
    """What goes into DICOM objects beside labels and references.

    Args:
        segments: Name of every label to its values.
        author: What made the labels.
    """

    segments: Mapping[str, Sequence[int]]
    author: Author


@dataclass(frozen=True)
class DicomCase:
    """A case whose images are DICOM series.

    Args:
        name: Of its outputs.
        stacks: One a channel; labels lie on the first.
        output: The folder of the predictions.
        scratch: Where volumes lie while they are predicted.
        kinds: Which objects to write.
        objects: What goes into them.
    """

    name: str
    stacks: tuple[Stack, ...]
    output: Path
    scratch: Path
    kinds: tuple[ObjectKind, ...]
    objects: Objects

    def hashes(self) -> dict[str, str]:
        """A hash of the files and frames of every channel."""
        return {
            f"{self.name} channel {index}": digest(
                [[slot.header.file_hash, slot.plane.frame] if slot else None for slot in each.slots]
            )
            for index, each in enumerate(self.stacks)
        }

    def stage(self) -> tuple[Path, ...]:
        """Write the volumes where the preprocessing reads them; one channel is in memory at a time.

        Raises:
            BadDataError: A file cannot be decoded, or a volume does not fit into memory.
        """
        first: StackVolume | None = None
        files = []
        for index, stack in enumerate(self.stacks):
            header = stack.first.header
            shape = (header.columns, header.rows, len(stack.slots))
            check_memory(Path(self.name), shape, _FLOAT_BYTES)
            volume = self._read(stack)
            first = first or volume
            file = self._folder / f"{self.name}_{index:04d}.nii"
            _write_nifti(file, on_grid_of(volume, first))
            files.append(file)
        return tuple(files)

    def release(self) -> None:
        """Take the staged volumes away."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def finish(self, label: Path) -> None:
        """Write the objects that are not there yet for a label map.

        Args:
            label: The label map, on the grid of the staged volume.

        Raises:
            BadDataError: The series cannot be referred to, or the label map has another grid.
        """
        key = digest(
            [sha256(label), self.hashes(), dict(self.objects.segments), asdict(self.objects.author)]
        )
        record = self.output / RECORDS / "dicom" / f"{self.name}.json"
        done = self._whole(record, key)
        missing = [kind for kind in self.kinds if kind not in done]
        if not missing:
            return
        reader = reader_of(label)
        affine = reader.header(label).affine
        labels = reader.array(label)
        if affine is None or labels.ndim != 3:
            raise BadDataError(f"{label}: not a label map of a volume.")
        planes = to_source_planes(labels, affine, self.stacks[0])
        sources = source_headers(planes.slots, _content_of)
        segments, author = self.objects.segments, self.objects.author
        for kind in missing:
            file = self._file(kind)
            written = True
            if kind == "rtstruct":
                written = write_structures(file, planes, sources, segments, author)
            else:
                coding: Literal["BINARY", "LABELMAP"] = "BINARY" if kind == "seg" else "LABELMAP"
                write_segmentation(file, planes, sources, segments, author, coding)
            if not written:
                file.unlink(missing_ok=True)
            done[kind] = sha256(file) if written else ""
            write_json(record, {"key": key, "objects": done})

    def outputs(self) -> list[str]:
        """Names of the objects that are there."""
        files = [self._file(kind) for kind in self.kinds]
        return [file.relative_to(self.output).as_posix() for file in files if file.is_file()]

    def _read(self, stack: Stack) -> StackVolume:
        """The voxels; an error names the slice, since a path may hold the name of a patient."""
        try:
            return read_stack(stack, _content_of)
        except BadDataError as error:
            text = str(error)
            known = {slot.header.place: index for index, slot in enumerate(stack.slots, 1) if slot}
            # the longest first: a name may begin as another one does
            for place in sorted(known, key=len, reverse=True):
                text = text.replace(place, f"slice {known[place]} of {len(stack.slots)}")
            raise BadDataError(text) from None

    def _file(self, kind: str) -> Path:
        """Apart from the label maps, so that one folder goes to an archive."""
        return self.output / OBJECTS_FOLDER / f"{self.name}.{kind}.dcm"

    @property
    def _folder(self) -> Path:
        return self.scratch / self.name

    def _whole(self, record: Path, key: str) -> dict[str, str]:
        """The objects that are there and whole, with their hash ("" where none was to be)."""
        try:
            content = read_json(record)
        except BadDataError:
            return {}
        known = content.get("objects", {}) if content.get("key") == key else {}
        return {
            kind: value
            for kind, value in known.items()
            if not value or _hash_of(self._file(kind)) == value
        }


def _hash_of(file: Path) -> str:
    return sha256(file) if file.is_file() else ""


def _content_of(place: str) -> bytes:
    return Path(place).read_bytes()


def _write_nifti(file: Path, volume: StackVolume) -> None:
    image = nibabel.Nifti1Image(volume.voxels.astype(np.float32, copy=False), volume.affine)
    image.set_sform(volume.affine, _SCANNER)
    image.set_qform(volume.affine, _SCANNER)
    image.header.set_xyzt_units("mm")
    with atomic_path(file) as partial:
        nibabel.save(image, partial)
