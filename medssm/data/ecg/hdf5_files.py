"""HDF5 of the Shandong set (SPH): a matrix `ecg` of twelve leads in mV at 500 Hz."""

from pathlib import Path

import numpy as np

from medssm.core.extras import require
from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.signal import Raw, ReadOptions, Span, expect_bytes, refuse
from medssm.data.hdf5_links import REMEDY, member_elsewhere

_RATE_HZ = 500.0


def read_hdf5(file: Path, _: ReadOptions, span: Span | None = None) -> Raw:
    """Read the matrix; attributes rate_hz and leads of it count where it has them.

    Raises:
        MachineError: h5py is not installed.
        RecordError: It is no HDF5, is cut, or holds no such matrix.
    """
    start = expect_bytes(file)
    if not start.startswith(b"\x89HDF"):
        raise refuse(file, "format", "other bytes", "an HDF5 file", "Download it again.")
    h5py = require("h5py", "ecg")
    try:
        with h5py.File(file, "r") as content:
            linked = member_elsewhere(content)
            if linked is not None:
                raise refuse(file, "format", f"{linked} in another file", "one file", REMEDY)
            if "ecg" not in content:
                names = ", ".join(content) or "nothing"
                raise refuse(file, "format", f"the keys {names}", "a matrix ecg", "Rename it.")
            matrix = content["ecg"]
            rate = float(matrix.attrs.get("rate_hz", _RATE_HZ))
            leads = tuple(map(str, matrix.attrs.get("leads", LEADS)))
            if matrix.ndim != 2 or matrix.shape[0] != len(leads):
                raise refuse(
                    file, "format", f"ecg of {matrix.shape}", f"{len(leads)} rows",
                    "Take the original file.",
                )  # fmt: skip
            first, last = (span or Span()).samples(rate, matrix.shape[1])
            values = np.asarray(matrix[:, first:last], dtype=np.float32)
    except OSError as error:
        raise refuse(
            file, "truncated", f"{file.stat().st_size} bytes that HDF5 cannot open ({error})",
            "a whole file", "Download it again.",
        ) from error  # fmt: skip
    # the published set names no leads; its paper gives the usual order
    return Raw(values, leads, rate, facts={"source": "SPH"})
