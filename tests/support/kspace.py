"""Files of k-space in the public layouts, from a seed: fastMRI, Calgary-Campinas, raw ISMRMRD."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medssm.data.kspace_writers import write_fastmri

SCHEMA = "http://www.ismrm.org/ISMRMRD"


def centred(image: np.ndarray, transform: Any) -> np.ndarray:
    """A centred orthonormal transform over the last two axes."""
    axes = (-2, -1)
    moved = transform(np.fft.ifftshift(image, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(moved, axes=axes)


def phantom(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A head of ellipses, complex with a smooth phase, (H, W)."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    image = 1.0 * ((x / 0.7) ** 2 + (y / 0.85) ** 2 < 1)
    image -= 0.6 * ((x / 0.62) ** 2 + (y / 0.77) ** 2 < 1)
    for _ in range(8):
        cx, cy, a, b = rng.uniform((-0.4, -0.5, 0.05, 0.05), (0.4, 0.5, 0.25, 0.25))
        image += rng.uniform(0.1, 0.5) * (((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1)
    return image * np.exp(1j * (0.8 * x - 0.5 * y + 0.6 * x * y))


def coil_maps(coils: int, size: tuple[int, int]) -> np.ndarray:
    """Coils on a circle, unit root-sum-of-squares, (C, H, W)."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    angles = 2 * np.pi * np.arange(coils)[:, None, None] / coils
    dx, dy = x - 1.3 * np.cos(angles), y - 1.3 * np.sin(angles)
    maps = np.exp(1j * np.arctan2(dy, dx)) / (dx**2 + dy**2)
    return maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))


def multi_coil(
    slices: int = 2, coils: int = 4, size: tuple[int, int] = (48, 40), seed: int = 0
) -> np.ndarray:
    """Fully sampled, centred k-space with a little noise, complex64 (S, C, H, W)."""
    rng = np.random.default_rng(seed + 1000)
    maps = coil_maps(coils, size)
    images = np.stack([phantom(size, seed * 100 + each) for each in range(slices)])
    kspace = centred(images[:, None] * maps, np.fft.fft2)
    noise = rng.normal(size=(*kspace.shape, 2)) @ np.array([1, 1j])
    return (kspace + 0.003 * noise).astype(np.complex64)


def rss(kspace: np.ndarray) -> np.ndarray:
    """Root-sum-of-squares images of k-space (S, C, H, W)."""
    return np.sqrt((np.abs(centred(kspace, np.fft.ifft2)) ** 2).sum(axis=1)).astype(np.float32)


def crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The centre of the last two axes."""
    top, left = (have // 2 - want // 2 for have, want in zip(image.shape[-2:], size, strict=True))
    return image[..., top : top + size[0], left : left + size[1]]


def columns(width: int, every: int = 4, acs: int = 8) -> np.ndarray:
    """An equispaced mask over columns with a fully sampled centre, (W,)."""
    mask = np.zeros(width, dtype=bool)
    mask[::every] = True
    first = width // 2 - acs // 2
    mask[first : first + acs] = True
    return mask


def fastmri_file(path: Path, seed: int = 0, **facts: Any) -> Path:
    """A fully sampled brain-like volume: padding, header crop and reference included."""
    shape = {key: facts.pop(key) for key in ("slices", "coils", "size") if key in facts}
    kspace = multi_coil(seed=seed, **shape)
    padding = facts.setdefault("padding", (2, 3))
    width = kspace.shape[-1]
    kspace[..., : padding[0]] = 0
    kspace[..., width - padding[1] :] = 0
    recon = facts.setdefault("recon_size", (32, 32))
    facts.setdefault("reference", crop(rss(kspace), recon))
    facts.setdefault("patient_id", f"patient{seed}")
    return write_fastmri(path, kspace, acquisition="AXT1", spacing_mm=(0.7, 0.7, 5.0), **facts)


def calgary_file(path: Path, seed: int = 0, slices: int = 2, coils: int = 12) -> Path:
    """A volume of the MC-MRRec challenge: float32 (slices, 218, 170, 2 coils), 85 % sampled."""
    size = (218, 170)
    maps = coil_maps(coils, size)
    images = np.stack([phantom(size, seed * 100 + each) for each in range(slices)])
    # stored so that the plain inverse transform shows the head in the middle, centre in the middle
    rows, columns_ = np.indices(size)
    kspace = np.fft.fft2(images[:, None] * maps * (-1.0) ** (rows + columns_), norm="ortho")
    kspace[..., int(np.ceil(0.85 * size[1])) :] = 0
    pairs = np.stack([kspace.real, kspace.imag], axis=2).reshape(slices, 2 * coils, *size)
    with h5py.File(path, "w") as file:
        file["kspace"] = np.moveaxis(pairs, 1, -1).astype(np.float32)
    return path


def raw_header(
    encoded: tuple[int, int, int], recon: tuple[int, int, int], coils: int, **words: Any
) -> str:
    """ISMRMRD's XML header; the field of view follows the matrices at 2 mm."""
    z_mm = words.get("slice_mm", 4.0)

    def space(name: str, matrix: tuple[int, int, int]) -> str:
        x, y, z = matrix
        return (
            f"<{name}><matrixSize><x>{x}</x><y>{y}</y><z>{z}</z></matrixSize><fieldOfView_mm>"
            f"<x>{2 * x}</x><y>{2 * y}</y><z>{z_mm * z}</z></fieldOfView_mm></{name}>"
        )

    return (
        f'<?xml version="1.0"?><ismrmrdHeader xmlns="{SCHEMA}">'
        f"<subjectInformation><patientID>{words.get('patient', 'P7')}</patientID>"
        "</subjectInformation><acquisitionSystemInformation>"
        f"<receiverChannels>{words.get('claimed', coils)}</receiverChannels>"
        "</acquisitionSystemInformation><experimentalConditions><H1resonanceFrequency_Hz>1"
        "</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        f"{space('encodedSpace', encoded)}{space('reconSpace', recon)}<encodingLimits>"
        f"<kspace_encoding_step_1><minimum>0</minimum><maximum>{encoded[1] - 1}</maximum>"
        f"<center>{encoded[1] // 2}</center></kspace_encoding_step_1>"
        f"<kspace_encoding_step_2><minimum>0</minimum><maximum>{encoded[2] - 1}</maximum>"
        f"<center>{encoded[2] // 2}</center></kspace_encoding_step_2></encodingLimits>"
        f"<trajectory>{words.get('trajectory', 'cartesian')}</trajectory></encoding>"
        "</ismrmrdHeader>"
    )


def acquisition(samples: np.ndarray, line: int, **facts: Any) -> Any:
    """One read-out, (C, n) complex64."""
    import ismrmrd

    made = ismrmrd.Acquisition.from_array(samples.astype(np.complex64))
    made.idx.kspace_encode_step_1 = line
    made.idx.kspace_encode_step_2 = facts.get("partition", 0)
    made.idx.slice = facts.get("slice", 0)
    made.idx.average = facts.get("average", 0)
    made.center_sample = facts.get("centre", samples.shape[1] // 2)
    for name, direction in zip(("read_dir", "phase_dir", "slice_dir"), np.eye(3), strict=True):
        getattr(made, name)[:] = direction
    made.position[:] = (0.0, 0.0, 5.0 * facts.get("slice", 0))
    for flag in facts.get("flags", ()):
        made.setFlag(flag)
    return made


def raw_file(path: Path, header: str, acquisitions: list[Any]) -> Path:
    """A raw ISMRMRD file, written by the format's own library."""
    import ismrmrd

    with ismrmrd.Dataset(str(path), "dataset", create_if_needed=True) as file:
        file.write_xml_header(header.encode())
        for each in acquisitions:
            file.append_acquisition(each)
    return path
