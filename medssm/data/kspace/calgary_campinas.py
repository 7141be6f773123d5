"""Calgary-Campinas' layout: kspace (slices, H, W, 2 coils) real, real and imaginary parts in turn.

Source:
    Souza et al. 2018 (CC-359) and the MC-MRRec challenge; the read-out is transformed already, so
    slices are planes of two phase encodings. Of those the third axis is sampled to 85 % only.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.kspace.h5_file import attributes_of, open_h5
from medssm.data.kspace.sampling import find_sampling
from medssm.data.kspace.volume import KspaceVolume

SAMPLED_SHARE = 0.85
# e14089s3_P53248.7.h5: exam, series, raw file
_EXAM = re.compile(r"^(e\d+)s\d+")


@dataclass(frozen=True)
class CalgaryCampinasSource:
    """Slices of a file."""

    path: Path

    def read(self, index: int) -> np.ndarray:
        """Samples of a slice."""
        with open_h5(self.path) as file:
            pairs = np.ascontiguousarray(file["kspace"][index], dtype=np.float32)
        return np.moveaxis(pairs.view(np.complex64), -1, 0)

    def reference(self, index: int) -> np.ndarray | None:  # noqa: ARG002 - as every source
        """These files carry none."""
        return None


def open_calgary_campinas(path: Path, file: Any) -> KspaceVolume:
    """Understand an open file.

    Raises:
        BadDataError: The last axis holds no pairs.
    """
    slices, height, width, values = file["kspace"].shape
    if values % 2:
        raise BadDataError(
            f"{path}: kspace has the shape {file['kspace'].shape}, {values} values a position. "
            "Expected an even number: real and imaginary part of every coil; export it again."
        )
    padding = np.zeros((height, width), dtype=bool)
    padding[:, math.ceil(SAMPLED_SHARE * width) :] = True
    source = CalgaryCampinasSource(path)
    sampling = find_sampling(source.read, slices, padding)
    exam = _EXAM.match(path.name)
    return KspaceVolume(
        path=path,
        name=path.stem,
        layout="calgary_campinas",
        shape=(slices, values // 2, height, width),
        centred=False,
        source=source,
        mask=sampling.mask,
        acs=sampling.acs,
        padding=sampling.padding,
        patient=exam[1] if exam else path.stem,
        header=attributes_of(file),
    )
