"""Classical reconstructions behind one table: what a network has to beat.

Source:
    Pruessmann et al. 2001 (CG-SENSE), Lustig et al. 2007 (sparse MRI: wavelets, total variation),
    Uecker et al. 2014 (ESPIRiT); solved by sigpy (Ong and Lustig 2019).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from medssm.core.errors import BadArgumentError, BadDataError
from medssm.core.extras import require
from medssm.core.registry import Table

# the share of pixels below what is scaled to 1, so that weights mean the same for all data
_SCALE_PERCENTILE = 99.0
_LARGEST_KERNEL = 6
_LEAST_CALIBRATION = 6
_WIDEST_CALIBRATION = 24

_HERE = "medssm.fields.reconstruction.baselines"
BASELINES = Table(
    "baseline",
    {
        "zero_filled": f"{_HERE}:zero_filled",
        "sense": f"{_HERE}:sense",
        "cg_sense": f"{_HERE}:cg_sense",
        "l1_wavelet": f"{_HERE}:l1_wavelet",
        "total_variation": f"{_HERE}:total_variation",
    },
    "medssm.baselines",
)


@dataclass(frozen=True)
class Problem:
    """What a method solves; samples are scaled so that the zero-filled image is about 1.

    Args:
        kspace: Measured samples, zero elsewhere; centred.
        mask: Where they were measured.
        maps: Coil sensitivities; None where the method needs none.

    Shape:
        kspace, maps: (C, H, W) complex64; mask: (H, W) boolean.
    """

    kspace: np.ndarray
    mask: np.ndarray
    maps: np.ndarray | None

    @property
    def weights(self) -> np.ndarray:
        """The mask as sigpy takes it, (1, H, W)."""
        return self.mask[None].astype(np.float32)


def reconstruct(
    name: str,
    kspace: np.ndarray,
    mask: np.ndarray,
    maps: np.ndarray | None = None,
    *,
    acs: np.ndarray | None = None,
    centred: bool = True,
    **options: Any,
) -> np.ndarray:
    """Reconstruct a slice.

    Args:
        name: A row of `BASELINES`.
        kspace: Samples; what lies outside of the mask is not looked at.
        mask: What was acquired.
        maps: Coil sensitivities; None estimates them by ESPIRiT where the method needs them.
        acs: The fully sampled centre that maps are estimated from; None takes the whole mask's.
        centred: Whether the image comes by the centred transform.
        **options: Of the method, e.g. lamda=0.01.

    Returns:
        The image in units of the data; that of "zero_filled" is real and not negative.

    Shape:
        kspace, maps: (C, H, W) complex; mask, acs: (H, W) boolean; result: (H, W) complex64.

    Raises:
        UsageError: No such method or option.
        BadDataError: Maps are needed and the calibration area is too small.
        MachineError: sigpy is not installed.
    """
    measured = np.where(mask, kspace, 0).astype(np.complex64)
    if not centred:
        measured = measured * _rolling(mask.shape)[0]
    if maps is None and name not in ("zero_filled",):
        maps = _maps(measured, mask if acs is None else acs)
    coil_images = _transform(measured, np.fft.ifft2)
    scale = scale_of(coil_images)
    problem = Problem((measured / scale).astype(np.complex64), mask, maps)
    with _repeatable():
        image = BASELINES.build(name, problem=problem, **options) * scale
    if not centred and name != "zero_filled":
        image = image * _rolling(mask.shape)[1]
    return np.asarray(image, dtype=np.complex64)


@contextmanager
def _repeatable() -> Iterator[None]:
    """The same start for every call: sigpy's power iterations draw from numpy's global state."""
    before = np.random.get_state()  # noqa: NPY002 - it is sigpy's
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def scale_of(coil_images: np.ndarray) -> float:
    """The 99th percentile of the root-sum-of-squares image, which does not depend on its size."""
    return float(np.percentile(_rss(coil_images), _SCALE_PERCENTILE)) or 1.0


def zero_filled(problem: Problem) -> np.ndarray:
    """Root-sum-of-squares of the coil images, missing samples as zeros."""
    return _rss(_transform(problem.kspace, np.fft.ifft2))


def sense(problem: Problem) -> np.ndarray:
    """Coil images combined by their sensitivities, missing samples as zeros."""
    coil_images = _transform(problem.kspace, np.fft.ifft2)
    return np.asarray((np.conj(_known(problem.maps)) * coil_images).sum(axis=0))


def cg_sense(problem: Problem, lamda: float = 0.01, iterations: int = 30) -> np.ndarray:
    """Least squares by conjugate gradients.

    Args:
        problem: What to solve.
        lamda: Weight of the squared norm of the image.
        iterations: Of the conjugate gradients; few of them regularise as well.
    """
    return _solve("SenseRecon", problem, lamda, iterations)


def l1_wavelet(
    problem: Problem, lamda: float = 0.005, iterations: int = 100, wavelet: str = "db4"
) -> np.ndarray:
    """Least squares with few wavelet coefficients.

    Args:
        problem: What to solve.
        lamda: Weight of the sum of absolute coefficients.
        iterations: Of accelerated proximal gradient steps.
        wavelet: As PyWavelets names it.
    """
    return _solve("L1WaveletRecon", problem, lamda, iterations, wave_name=wavelet)


def total_variation(problem: Problem, lamda: float = 0.005, iterations: int = 100) -> np.ndarray:
    """Least squares with few steps between neighbouring pixels.

    Args:
        problem: What to solve.
        lamda: Weight of the total variation.
        iterations: Of the primal-dual method.
    """
    return _solve("TotalVariationRecon", problem, lamda, iterations)


def _solve(app: str, problem: Problem, lamda: float, iterations: int, **words: Any) -> np.ndarray:
    if lamda < 0 or iterations < 1:
        raise BadArgumentError(
            f"lamda={lamda}, iterations={iterations}: expected 0 or more, and 1 or more."
        )
    apps = require("sigpy.mri.app", "mri")
    made = getattr(apps, app)(
        problem.kspace, _known(problem.maps), lamda=lamda, weights=problem.weights,
        max_iter=iterations, show_pbar=False, **words,
    )  # fmt: skip
    return np.asarray(made.run())


def espirit_maps(kspace: np.ndarray, acs: np.ndarray, *, centred: bool = True) -> np.ndarray:
    """Coil sensitivities by ESPIRiT from the fully sampled centre.

    Args:
        kspace: Samples.
        acs: The centre.
        centred: Whether images come by the centred transform; the maps fit either.

    Returns:
        Maps of unit root-sum-of-squares where there is signal, and 0 elsewhere; ones for one coil.

    Shape:
        kspace and result: (C, H, W) complex64; acs: (H, W) boolean.

    Raises:
        BadDataError: The largest centred square of the area is smaller than ESPIRiT's kernel.
        MachineError: sigpy is not installed.
    """
    if not centred:
        kspace = kspace * _rolling(acs.shape)[0]
    return _maps(np.asarray(kspace, dtype=np.complex64), acs)


def _maps(kspace: np.ndarray, acs: np.ndarray) -> np.ndarray:
    if len(kspace) == 1:
        return np.ones(kspace.shape, dtype=np.complex64)
    width = calibration_width(acs)
    if width < _LEAST_CALIBRATION:
        raise BadDataError(
            f"a calibration area of {width} × {width} samples around the centre. Expected "
            f"{_LEAST_CALIBRATION} × {_LEAST_CALIBRATION} or more for ESPIRiT; take "
            "method=zero_filled, or acquire more."
        )
    # a kernel of more than half the area leaves too few patches, and maps of holes
    kernel = min(_LARGEST_KERNEL, width // 2)
    apps = require("sigpy.mri.app", "mri")
    made = apps.EspiritCalib(
        np.where(acs, kspace, 0).astype(np.complex64), calib_width=width, kernel_width=kernel,
        show_pbar=False,
    )  # fmt: skip
    # sigpy divides by zero where all coils are silent
    with np.errstate(invalid="ignore", divide="ignore"), _repeatable():
        found = np.asarray(made.run(), dtype=np.complex64)
    return np.nan_to_num(found, copy=False)


def calibration_width(acs: np.ndarray) -> int:
    """The edge of the largest full square around the centre, at most 24."""
    width = 0
    while width < min(_WIDEST_CALIBRATION, *acs.shape):
        wider = width + 1
        top, left = (size // 2 - wider // 2 for size in acs.shape)
        if not acs[top : top + wider, left : left + wider].all():
            break
        width = wider
    return width


def _known(maps: np.ndarray | None) -> np.ndarray:
    assert maps is not None, "reconstruct() estimates what is not given"
    return maps


def _rss(coil_images: np.ndarray) -> np.ndarray:
    return np.sqrt((np.abs(coil_images) ** 2).sum(axis=0))


def _transform(values: np.ndarray, transform: Callable[..., np.ndarray]) -> np.ndarray:
    """A centred orthonormal transform over the last two axes."""
    axes = (-2, -1)
    moved = transform(np.fft.ifftshift(values, axes=axes), axes=axes, norm="ortho")
    return np.asarray(np.fft.fftshift(moved, axes=axes), dtype=np.complex64)


def _rolling(size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Phases between the plain and the centred transform: over k-space, and over the image.

    With c = N // 2 on each axis, the centred inverse transform of k[n] e^(2πi c n / N) is
    e^(2πi c (c - m) / N) times the plain inverse transform of k at pixel m.
    """
    kspace_phase, image_phase = np.ones(()), np.ones(())
    for axis, length in enumerate(size):
        centre, steps = length // 2, np.arange(length)
        shape = [1] * len(size)
        shape[axis] = length
        over_k = np.exp(2j * np.pi * centre * steps / length).reshape(shape)
        over_image = np.exp(-2j * np.pi * centre * (centre - steps) / length).reshape(shape)
        kspace_phase, image_phase = kspace_phase * over_k, image_phase * over_image
    return kspace_phase, image_phase


DEFAULT_GRIDS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "zero_filled": ({},),
    "sense": ({},),
    "cg_sense": tuple(
        {"lamda": lamda, "iterations": steps}
        for lamda in (0.0, 0.003, 0.01, 0.03, 0.1)
        for steps in (5, 10, 30)
    ),
    "l1_wavelet": tuple({"lamda": lamda} for lamda in (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)),
    "total_variation": tuple(
        {"lamda": lamda} for lamda in (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
    ),
}
