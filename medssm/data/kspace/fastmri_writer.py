"""Write k-space in fastMRI's public layout: what simulators and conversions hand out."""

from pathlib import Path

import numpy as np

from medssm.core.errors import BadArgumentError
from medssm.core.extras import require
from medssm.core.files import atomic_path

_HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <acquisitionSystemInformation>
    <receiverChannels>{coils}</receiverChannels>
  </acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>0</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{height}</x><y>{width}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{encoded_mm[0]}</x><y>{encoded_mm[1]}</y><z>{encoded_mm[2]}</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{recon[0]}</x><y>{recon[1]}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{recon_mm[0]}</x><y>{recon_mm[1]}</y><z>{recon_mm[2]}</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1>
        <minimum>0</minimum><maximum>{maximum}</maximum><center>{centre}</center>
      </kspace_encoding_step_1>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
</ismrmrdHeader>
"""


def write_fastmri(
    path: Path,
    kspace: np.ndarray,
    *,
    reference: np.ndarray | None = None,
    recon_size: tuple[int, int] | None = None,
    patient_id: str = "",
    mask: np.ndarray | None = None,
    acquisition: str = "SIMULATED",
    padding: tuple[int, int] = (0, 0),
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Path:
    """Write one volume.

    Args:
        path: The .h5 file.
        kspace: Samples; single-coil data have no axis of coils.
        reference: Root-sum-of-squares images after the crop.
        recon_size: Final centre crop; None keeps images whole.
        patient_id: Who was scanned; the name of the file by default.
        mask: Columns that were acquired, of an undersampled volume.
        acquisition: Contrast, as fastMRI names it.
        padding: Columns at the left and right that the header calls never acquired.
        spacing_mm: Along (H, W, slices).

    Shape:
        kspace: (S, C, H, W) or (S, H, W); reference: (S, h, w); mask: (W,).

    Raises:
        BadArgumentError: Wrong number of axes, or padding that is not around the centre.
    """
    if kspace.ndim not in (3, 4):
        raise BadArgumentError(
            f"kspace has {kspace.ndim} axes; expected (S, C, H, W) or (S, H, W)."
        )
    height, width = kspace.shape[-2:]
    left, right = padding
    if not 0 <= left <= width // 2 < width - right <= width:
        raise BadArgumentError(f"padding {padding} covers the centre of {width} columns.")
    size = recon_size or (height, width)
    header = _HEADER.format(
        coils=kspace.shape[1] if kspace.ndim == 4 else 1,
        height=height,
        width=width,
        recon=size,
        encoded_mm=_field_of_view((height, width), spacing_mm),
        recon_mm=_field_of_view(size, spacing_mm),
        maximum=width - left - right - 1,
        centre=width // 2 - left,
    )
    h5py = require("h5py", "mri")
    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        file.create_dataset("kspace", data=np.asarray(kspace, dtype=np.complex64))
        file.create_dataset("ismrmrd_header", data=header.encode("utf-8"))
        if reference is not None:
            name = "reconstruction_rss" if kspace.ndim == 4 else "reconstruction_esc"
            image = np.asarray(reference, dtype=np.float32)
            file.create_dataset(name, data=image)
            file.attrs["max"] = float(image.max())
            file.attrs["norm"] = float(np.linalg.norm(image))
        if mask is not None:
            file.create_dataset("mask", data=np.asarray(mask, dtype=np.float32))
        file.attrs["acquisition"] = acquisition
        file.attrs["patient_id"] = patient_id or path.stem
    return path


def _field_of_view(
    size: tuple[int, int], spacing_mm: tuple[float, float, float]
) -> tuple[float, float, float]:
    return size[0] * spacing_mm[0], size[1] * spacing_mm[1], spacing_mm[2]
