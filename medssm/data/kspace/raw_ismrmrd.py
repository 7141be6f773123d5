"""Raw ISMRMRD: acquisitions sorted by their encoding steps into slices or planes of k-space.

Source:
    Inati et al. 2017, the ISMRMRD format: flags, encoding counters, LPS directions in mm.
"""

from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.kspace.geometry import affine_of_slices
from medssm.data.kspace.h5_file import text_of
from medssm.data.kspace.ismrmrd_header import IsmrmrdHeader, read_header
from medssm.data.kspace.raw_slices import Lines, RawPlanes, RawSlices
from medssm.data.kspace.sampling import find_acs
from medssm.data.kspace.volume import KspaceVolume

# numbers of the format's flags; bit 0 is flag 1
_NOT_IMAGES = {
    19: "noise", 23: "navigator", 24: "phase correction", 26: "feedback", 27: "dummy",
    28: "feedback", 29: "surface coil correction", 30: "phase stabilisation",
    31: "phase stabilisation",
}  # fmt: skip
_CALIBRATION, _CALIBRATION_AND_IMAGING, _REVERSE = 20, 21, 22
# of these counters one index is read; average and segment are merged
_ONE_OF = ("contrast", "phase", "repetition", "set")


def raw_group(file: Any) -> str | None:
    """The group of a file that holds acquisitions, or None where it is no raw ISMRMRD."""
    for name, group in file.items():
        if not hasattr(group, "keys") or not {"xml", "data"} <= set(group.keys()):
            continue
        kind = getattr(group["data"], "dtype", None)
        if kind is not None and {"head", "data"} <= set(kind.names or ()):
            return str(name)
    return None


def open_raw(path: Path, file: Any, group: str) -> KspaceVolume:
    """Understand an open file.

    Noise, navigators and the like are dropped, averages are averaged, calibration lines fill what
    imaging left out, and the oversampling of the read-out is taken away. A volume of partitions is
    transformed along the read-out, so that its planes are those that were undersampled.

    Args:
        path: Its place.
        file: Open for reading.
        group: As `raw_group` says.

    Raises:
        BadDataError: Not Cartesian, no imaging lines, lines outside of the matrix, coils that
            differ.
    """
    header = read_header(text_of(file[f"{group}/xml"][()]), path)
    if header.trajectory.lower() != "cartesian":
        raise BadDataError(
            f"{path}: its trajectory is {header.trajectory!r}. Expected cartesian; grid the data "
            "first and store them as an .npy or .h5 file."
        )
    heads = np.asarray(file[f"{group}/data"]["head"])
    chosen, notes = _imaging(path, heads)
    _check_coils(path, header, heads[chosen])
    lines = _lines(path, header, heads, chosen)
    coils = int(heads[chosen[0]]["active_channels"])
    build = _planes if header.encoded[2] > 1 else _slices
    return build(path, group, header, heads[chosen], lines, coils, tuple(notes))


def _flag(heads: np.ndarray, number: int) -> np.ndarray:
    bits = heads["flags"].astype(np.uint64)
    return np.asarray((bits >> np.uint64(number - 1)) & np.uint64(1), dtype=bool)


def _imaging(path: Path, heads: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Indices of the lines that make images, and what was left out."""
    notes = []
    keep = np.ones(len(heads), dtype=bool)
    for number, name in _NOT_IMAGES.items():
        marked = _flag(heads, number)
        if (marked & keep).any():
            notes.append(f"{int((marked & keep).sum())} acquisitions dropped: {name}")
        keep &= ~marked
    for name in _ONE_OF:
        others = keep & (heads["idx"][name] > 0)
        if others.any():
            notes.append(f"{int(heads['idx'][name][keep].max()) + 1} {name}s: the first is read")
        keep &= ~others
    other_space = keep & (heads["encoding_space_ref"] != 0)
    if other_space.any():
        notes.append(f"{int(other_space.sum())} acquisitions of further encodings dropped")
    keep &= ~other_space
    calibration = keep & _flag(heads, _CALIBRATION) & ~_flag(heads, _CALIBRATION_AND_IMAGING)
    imaging = keep & ~calibration
    # calibration lines of their own fill positions that imaging left out
    known = {_place(head) for head in heads[imaging]}
    fills = [index for index in np.flatnonzero(calibration) if _place(heads[index]) not in known]
    if fills:
        notes.append(f"{len(fills)} separate calibration lines fill the centre")
    chosen = np.sort(np.concatenate([np.flatnonzero(imaging), np.array(fills, dtype=int)]))
    if not chosen.size:
        raise BadDataError(
            f"{path}: none of {len(heads)} acquisitions is an imaging line. Expected some without "
            "noise, navigator or dummy flags; export the measurement again."
        )
    return chosen, notes


def _place(head: np.void) -> tuple[int, int, int]:
    index = head["idx"]
    return (
        int(index["kspace_encode_step_1"]),
        int(index["kspace_encode_step_2"]),
        int(index["slice"]),
    )


def _check_coils(path: Path, header: IsmrmrdHeader, heads: np.ndarray) -> None:
    found = np.unique(heads["active_channels"])
    expected = int(found[0]) if header.coils is None else header.coils
    if list(found) != [expected]:
        raise BadDataError(
            f"{path}: acquisitions have {', '.join(map(str, found))} coils. Expected {expected} in "
            "all of them by the header; export the measurement again."
        )


def _lines(path: Path, header: IsmrmrdHeader, heads: np.ndarray, chosen: np.ndarray) -> Lines:
    picked = heads[chosen]
    columns = _centred(picked["idx"]["kspace_encode_step_1"], header.centre, header.encoded[1])
    partitions = _centred(
        picked["idx"]["kspace_encode_step_2"], header.partition_centre, header.encoded[2]
    )
    for name, steps, size in (
        ("kspace_encode_step_1", columns, header.encoded[1]),
        ("kspace_encode_step_2", partitions, header.encoded[2]),
    ):
        if steps.min() < 0 or steps.max() >= size:
            raise BadDataError(
                f"{path}: {name} reaches {int(steps.min())} to {int(steps.max())} around its "
                f"centre. Expected 0 to {size - 1} by encodedSpace; correct the header's matrix or "
                "its encodingLimits."
            )
    slices = picked["idx"]["slice"].astype(int)
    place = np.stack([columns, partitions, slices])
    _, inverse, count = np.unique(place, axis=1, return_inverse=True, return_counts=True)
    reverse = _flag(picked, _REVERSE)
    return Lines(chosen, columns, partitions, slices, 1.0 / count[inverse.reshape(-1)], reverse)


def _centred(steps: np.ndarray, centre: int | None, size: int) -> np.ndarray:
    """Steps moved so that the centre of k-space lies at size // 2."""
    return steps.astype(int) + (0 if centre is None else size // 2 - centre)


def _slices(
    path: Path, group: str, header: IsmrmrdHeader, heads: np.ndarray, lines: Lines, coils: int,
    notes: tuple[str, ...],
) -> KspaceVolume:  # fmt: skip
    rows, columns = _read_out(header), header.encoded[1]
    count = int(lines.slices.max()) + 1
    mask = np.zeros((rows, columns), dtype=bool)
    mask[:, np.unique(lines.columns)] = True
    source = RawSlices(path, group, lines, (coils, header.encoded[0], columns), rows)
    x, y, z = header.spacing_mm or (0.0, 0.0, 0.0)
    recon = header.recon or header.encoded
    size = (min(recon[0], rows), min(recon[1], columns))
    spacing = (x, y, z) if header.spacing_mm else None
    firsts = [heads[np.flatnonzero(lines.slices == each)[0]] for each in np.unique(lines.slices)]
    affine = affine_of_slices(firsts, spacing, size) if spacing else None
    return _volume(path, header, source, (count, coils, rows, columns), mask, size, notes,
                   (spacing, affine))  # fmt: skip


def _planes(
    path: Path, group: str, header: IsmrmrdHeader, heads: np.ndarray, lines: Lines, coils: int,
    notes: tuple[str, ...],
) -> KspaceVolume:  # fmt: skip
    if lines.slices.max() > 0:
        raise BadDataError(
            f"{path}: holds {int(lines.slices.max()) + 1} slabs of {header.encoded[2]} partitions. "
            "Expected one slab a file; split the measurement by its slice counter."
        )
    rows, columns = header.encoded[2], header.encoded[1]
    mask = np.zeros((rows, columns), dtype=bool)
    mask[lines.partitions, lines.columns] = True
    count = _read_out(header)
    source = RawPlanes(path, group, lines, (coils, rows, columns), header.encoded[0], count)
    recon = header.recon or header.encoded
    size = (min(recon[2], rows), min(recon[1], columns))
    spacing = affine = None
    if header.spacing_mm:
        x, y, z = header.spacing_mm
        spacing = (z, y, x)
        affine = affine_of_slices([heads[0]], spacing, size, planes=count)
    return _volume(path, header, source, (count, coils, rows, columns), mask, size,
                   (*notes, "planes of both phase encodings, one for each read-out position"),
                   (spacing, affine))  # fmt: skip


def _read_out(header: IsmrmrdHeader) -> int:
    """Rows that are left when the oversampling of the read-out is taken away."""
    if header.encoded_mm is None or header.recon_mm is None:
        recon = header.recon or header.encoded
        return recon[0] if header.encoded[0] == 2 * recon[0] else header.encoded[0]
    share = min(1.0, header.recon_mm[0] / header.encoded_mm[0])
    return max(1, round(header.encoded[0] * share))


def _volume(
    path: Path, header: IsmrmrdHeader, source: RawSlices | RawPlanes,
    shape: tuple[int, int, int, int], mask: np.ndarray, size: tuple[int, int],
    notes: tuple[str, ...],
    geometry: tuple[tuple[float, float, float] | None, np.ndarray | None],
) -> KspaceVolume:  # fmt: skip
    full = bool(mask.all())
    return KspaceVolume(
        path=path,
        name=path.stem,
        layout="ismrmrd",
        shape=shape,
        centred=True,
        source=source,
        mask=None if full else mask,
        acs=None if full else find_acs(mask),
        recon_size=size,
        spacing_mm=geometry[0],
        affine=geometry[1],
        patient=header.patient or path.stem,
        notes=notes,
    )
