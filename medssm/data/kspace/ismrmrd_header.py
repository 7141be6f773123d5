"""The XML header of ISMRMRD, as far as images need it: sizes, fields of view, limits, coils."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from medssm.core.errors import BadDataError

_NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"
_LARGEST = 1 << 16
_MEND = "write the file again with a complete ISMRMRD header (schema ismrmrd.xsd)"


@dataclass(frozen=True)
class IsmrmrdHeader:
    """What a header says; None where it is silent.

    Args:
        encoded: Matrix (x, y, z) of the encoded space: read-out, phase, partition.
        encoded_mm: Its field of view.
        recon: Matrix of the reconstructed space.
        recon_mm: Its field of view.
        centre: Step of the phase encoding at the centre of k-space.
        maximum: Last step of the phase encoding.
        partition_centre: The same centre along the partitions.
        coils: Receiver channels.
        patient: Patient's ID, or else name, where the header carries one.
        trajectory: Such as "cartesian".
    """

    encoded: tuple[int, int, int]
    recon: tuple[int, int, int] | None
    encoded_mm: tuple[float, float, float] | None = None
    recon_mm: tuple[float, float, float] | None = None
    centre: int | None = None
    maximum: int | None = None
    partition_centre: int | None = None
    coils: int | None = None
    patient: str = ""
    trajectory: str = "cartesian"

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Of pixels along (x, y, z): no k-space is padded, so the encoded space decides.

        Of a slice the thickness is the field of view along z.
        """
        mm, size = (self.encoded_mm, self.encoded)
        if (mm is None or min(mm) <= 0) and self.recon is not None:
            mm, size = (self.recon_mm, self.recon)
        if mm is None or min(mm) <= 0:
            return None
        return mm[0] / size[0], mm[1] / size[1], mm[2] / size[2]

    def padding(self, height: int, width: int) -> np.ndarray | None:
        """Columns outside the limits of the phase encoding, (H, W); None where there are
        none, or the header is of another width.

        Source:
            fastMRI: left = encoded y // 2 - centre, right = left + maximum + 1.
        """
        if self.centre is None or self.maximum is None or self.encoded[1] != width:
            return None
        left = self.encoded[1] // 2 - self.centre
        right = left + self.maximum + 1
        outside = np.zeros((height, width), dtype=bool)
        outside[:, : max(0, left)] = True
        outside[:, max(0, right) :] = True
        return outside if outside.any() else None


def read_header(text: str, path: Path) -> IsmrmrdHeader:
    """Read a header.

    Args:
        text: The XML.
        path: Its file, for messages.

    Raises:
        BadDataError: No XML, or without the encoded space.
    """
    try:
        root = ElementTree.fromstring(text.strip("\0 \n"))
    except ElementTree.ParseError as error:
        raise BadDataError(
            f"{path}: its ISMRMRD header is no valid XML ({error}); {_MEND}."
        ) from None
    found = _Fields(root, path)
    encoded = found.matrix("encodedSpace", "matrixSize")
    if encoded is None:
        raise BadDataError(
            f"{path}: its ISMRMRD header lacks encoding/encodedSpace/matrixSize. Expected x, y, z; "
            f"{_MEND}."
        )
    limits = "encodingLimits/kspace_encoding_step_1"
    return IsmrmrdHeader(
        encoded=encoded,
        recon=found.matrix("reconSpace", "matrixSize"),
        encoded_mm=found.lengths("encodedSpace"),
        recon_mm=found.lengths("reconSpace"),
        centre=found.whole(f"encoding/{limits}/center"),
        maximum=found.whole(f"encoding/{limits}/maximum"),
        partition_centre=found.whole("encoding/encodingLimits/kspace_encoding_step_2/center"),
        coils=found.whole("acquisitionSystemInformation/receiverChannels"),
        patient=found.text("subjectInformation/patientID")
        or found.text("subjectInformation/patientName"),
        trajectory=found.text("encoding/trajectory") or "cartesian",
    )


class _Fields:
    """Values of an XML tree by path, with or without ISMRMRD's namespace."""

    def __init__(self, root: ElementTree.Element, path: Path) -> None:
        self.root, self.path = root, path

    def text(self, place: str) -> str:
        for prefix in (_NAMESPACE, ""):
            words = "/".join(prefix + word for word in place.split("/"))
            found = self.root.find(words)
            if found is not None and found.text:
                return found.text.strip()
        return ""

    def number(self, place: str) -> float | None:
        text = self.text(place)
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not isfinite(number):
            raise BadDataError(
                f"{self.path}: its ISMRMRD header says {text!r} in {place}. Expected a number; "
                f"{_MEND}."
            )
        return number

    def whole(self, place: str) -> int | None:
        number = self.number(place)
        return None if number is None else int(number)

    def matrix(self, space: str, kind: str) -> tuple[int, int, int] | None:
        x, y, z = (self.whole(f"encoding/{space}/{kind}/{axis}") for axis in "xyz")
        if x is None or y is None:
            return None
        size = (x, y, 1 if z is None else z)
        if min(size) < 1 or max(size) > _LARGEST:
            raise BadDataError(
                f"{self.path}: its ISMRMRD header says {kind} {size} in {space}. Expected 1 to "
                f"{_LARGEST}; {_MEND}."
            )
        return size

    def lengths(self, space: str) -> tuple[float, float, float] | None:
        x, y, z = (self.number(f"encoding/{space}/fieldOfView_mm/{axis}") for axis in "xyz")
        return None if x is None or y is None or z is None else (x, y, z)
