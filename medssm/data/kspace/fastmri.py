"""fastMRI's layout: kspace (slices, coils, H, W) complex, header, maybe reference and mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.kspace.h5_file import attributes_of, open_h5, text_of
from medssm.data.kspace.ismrmrd_header import IsmrmrdHeader, read_header
from medssm.data.kspace.sampling import Sampling, find_acs, find_sampling
from medssm.data.kspace.volume import KspaceVolume

REFERENCES = ("reconstruction_rss", "reconstruction_esc")
HEADER = "ismrmrd_header"


@dataclass(frozen=True)
class FastmriSource:
    """Slices of a file; single-coil files lack the axis of coils."""

    path: Path
    reference_name: str | None

    def read(self, index: int) -> np.ndarray:
        """Samples of a slice."""
        with open_h5(self.path) as file:
            kspace = np.asarray(file["kspace"][index])
        return kspace[None] if kspace.ndim == 2 else kspace

    def reference(self, index: int) -> np.ndarray | None:
        """The stored reconstruction of a slice."""
        if self.reference_name is None:
            return None
        with open_h5(self.path) as file:
            return np.asarray(file[self.reference_name][index])


def open_fastmri(path: Path, file: Any) -> KspaceVolume:
    """Understand an open file.

    Args:
        path: Its place.
        file: With the dataset "kspace" of complex numbers.

    Raises:
        BadDataError: A header that is damaged, or contradicts the samples; a mask that does not
            fit; no calibration area.
    """
    kspace = file["kspace"]
    slices, *coils, height, width = kspace.shape
    shape = (slices, coils[0] if coils else 1, height, width)
    names = [name for name in REFERENCES if name in file]
    reference = names[0] if names else None
    if reference is not None:
        _check_reference(path, reference, tuple(file[reference].shape), slices)
    source = FastmriSource(path, reference)
    notes: list[str] = []
    header = None
    if HEADER in file:
        header = read_header(text_of(file[HEADER][()]), path)
        _check_coils(path, header, shape[1])
        notes += _header_notes(header, width)
    else:
        notes.append("no ismrmrd_header: padding found from zeros, size from the reference")
    padding = header.padding(height, width) if header else None
    sampling = _sampling(path, file, source, shape, padding)
    return KspaceVolume(
        path=path,
        name=path.stem,
        layout="fastmri",
        shape=shape,
        centred=True,
        source=source,
        mask=sampling.mask,
        acs=sampling.acs,
        padding=sampling.padding,
        recon_size=_recon_size(path, file, header, reference, shape, notes),
        spacing_mm=header.spacing_mm if header else None,
        patient=_patient(path, file, header),
        header={**attributes_of(file), **({"reference": reference} if reference else {})},
        notes=tuple(notes),
    )


def _check_coils(path: Path, header: IsmrmrdHeader, coils: int) -> None:
    # a combined single-coil file keeps the header of its many coils
    if header.coils is not None and header.coils != coils and coils > 1:
        raise BadDataError(
            f"{path}: kspace has {coils} coils. Expected {header.coils} by receiverChannels of its "
            "header; export the file again, or correct the header."
        )


def _check_reference(path: Path, name: str, shape: tuple[int, ...], slices: int) -> None:
    if len(shape) != 3 or shape[0] != slices:
        raise BadDataError(
            f"{path}: its {name} has the shape {shape}. Expected (slices, h, w) with the {slices} "
            "slices of kspace; delete that dataset from the file or export it again."
        )


def _header_notes(header: IsmrmrdHeader, width: int) -> list[str]:
    if header.centre is None or header.maximum is None:
        return ["the header has no encodingLimits: padding found from zeros"]
    if header.encoded[1] != width:
        return [
            f"kspace has {width} columns, the header's encodedSpace {header.encoded[1]}: padding "
            "found from zeros"
        ]
    return []


def _sampling(
    path: Path,
    file: Any,
    source: FastmriSource,
    shape: tuple[int, int, int, int],
    padding: np.ndarray | None,
) -> Sampling:
    if "mask" not in file:
        return find_sampling(source.read, shape[0], padding)
    stored = np.asarray(file["mask"]).astype(bool)
    wanted = shape[2:]
    if stored.shape not in ((wanted[1],), wanted):
        raise BadDataError(
            f"{path}: its mask has the shape {stored.shape}. Expected ({wanted[1]},) or {wanted}; "
            "delete the dataset `mask` so that it is found from zeros, or write it again."
        )
    mask = np.array(np.broadcast_to(stored, wanted))
    if padding is not None:
        mask &= ~padding
    return Sampling(mask, find_acs(mask), padding)


def _recon_size(
    path: Path,
    file: Any,
    header: IsmrmrdHeader | None,
    reference: str | None,
    shape: tuple[int, int, int, int],
    notes: list[str],
) -> tuple[int, int] | None:
    _, _, height, width = shape
    if header is not None and header.recon is not None:
        size = header.recon[:2]
    elif reference is not None:
        size = (int(file[reference].shape[-2]), int(file[reference].shape[-1]))
        if header is not None:
            notes.append(f"the header has no reconSpace: size taken from {reference}")
    elif header is not None:
        raise BadDataError(
            f"{path}: its ISMRMRD header lacks encoding/reconSpace/matrixSize and there is no "
            "stored reconstruction. Expected the size (x, y) of final images; add it to the header."
        )
    else:
        return None
    if width < size[1]:
        # fastMRI: some FLAIR volumes have fewer columns than the header's image
        size = (width, width)
        notes.append(f"{width} columns are fewer than the header's image: cropped to {size}")
    return min(size[0], height), min(size[1], width)


def _patient(path: Path, file: Any, header: IsmrmrdHeader | None) -> str:
    if "patient_id" in file.attrs:
        return text_of(file.attrs["patient_id"])
    return (header.patient if header else "") or path.stem
