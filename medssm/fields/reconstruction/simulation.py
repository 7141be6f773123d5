"""Fully sampled k-space from images: a varied image, a phase, coils around it, noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medssm.core.errors import UsageError

_STRIP = 48


@dataclass(frozen=True)
class SimulationConfig:
    """What is simulated.

    Args:
        size: Rows and columns of a whole slice.
        rows: Rows of the strip that a sample shows; 0 shows all, None shows 48 where masks take
            whole columns and all where they take single samples. The rows are fully sampled in
            masks of columns, so that a strip folds as the whole slice does and costs less.
        coils: Fewest and most.
        noise: Least and most standard deviation of the real and of the imaginary part, in units
            of the 99th percentile of the image.
        phantoms: Share of samples that show a phantom instead of an image of the data.
        turn: Largest rotation in degrees; a tenth of the samples turn by any angle.
        zoom: Least and most magnification.
        bend: Largest displacement, as a part of the size.
        gamma: Least and most exponent of the intensities.
        invert: Share of samples whose bright and dark tissues change places.
    """

    size: tuple[int, int] = (230, 180)
    rows: int | None = None
    coils: tuple[int, int] = (6, 10)
    noise: tuple[float, float] = (0.003, 0.03)
    phantoms: float = 0.4
    turn: float = 20.0
    zoom: tuple[float, float] = (0.85, 1.15)
    bend: float = 0.02
    gamma: tuple[float, float] = (0.6, 1.5)
    invert: float = 0.1

    def __post_init__(self) -> None:
        for name in ("coils", "noise", "zoom", "gamma"):
            least, most = getattr(self, name)
            if not 0 <= least <= most or (name in ("coils", "zoom", "gamma") and least <= 0):
                raise UsageError(
                    f"simulation.{name}={[least, most]}: expected a least and a most, above zero."
                )
        for name in ("phantoms", "invert"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"simulation.{name}={getattr(self, name)}: expected 0 to 1.")
        if min(self.size) < 16 or not (not self.rows or 16 <= self.rows <= self.size[0]):
            raise UsageError(
                f"simulation.size={list(self.size)}, rows={self.rows}: expected 16 or more, the "
                "rows no more than the size, or 0 for all."
            )

    def strip(self, of_columns: bool) -> int:
        """Rows of a sample; 0 for all."""
        if self.rows is None:
            return min(_STRIP, self.size[0]) if of_columns else 0
        return self.rows


@dataclass(frozen=True)
class Simulated:
    """A simulated slice or a strip of it.

    Args:
        kspace: Every sample, centred.
        maps: Sensitivities of unit sum of squares.
        image: What the coils see.

    Shape:
        kspace, maps: (C, H, W) complex64, image: (H, W) complex64.
    """

    kspace: np.ndarray
    maps: np.ndarray
    image: np.ndarray


class ImageSource:
    """An image ready to be looked at between its pixels.

    Args:
        image: Magnitudes, in any unit.

    Shape:
        image: (H, W).
    """

    def __init__(self, image: np.ndarray) -> None:
        peak = float(np.percentile(image, 99)) or 1.0
        scaled = (np.clip(image, 0, None) / peak).astype(np.float32)
        # the coefficients of cubic splines: computed once, looked up at any place
        self.coefficients = ndimage.spline_filter(scaled, order=3, output=np.float32)
        self.shape = scaled.shape

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Values at places from -1 to 1 in both axes; zero outside."""
        place = [
            (each + 1) * (size - 1) / 2
            for each, size in zip((rows, columns), self.shape, strict=True)
        ]
        found = ndimage.map_coordinates(self.coefficients, place, order=3, prefilter=False)
        return np.clip(found, 0, None)


def simulate(
    source: ImageSource, config: SimulationConfig, generator: np.random.Generator
) -> Simulated:
    """Simulate one slice, or a strip of one.

    Args:
        source: What is imaged.
        config: How.
        generator: Draws.
    """
    rows, columns = _strip(config, generator)
    magnitude = _recoloured(
        source.at(*_varied(rows, columns, config, generator)), config, generator
    )
    image = magnitude * np.exp(1j * smooth_phase(rows, columns, generator))
    count = int(generator.integers(config.coils[0], config.coils[1], endpoint=True))
    maps = coil_maps(rows, columns, count, generator)
    spread = float(np.exp(generator.uniform(*np.log(np.maximum(config.noise, 1e-9)))))
    noise = generator.standard_normal((2, *maps.shape)).astype(np.float32)
    kspace = to_kspace(maps * image) + spread * (noise[0] + 1j * noise[1])
    return Simulated(kspace.astype(np.complex64), maps, image.astype(np.complex64))


def _strip(
    config: SimulationConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the pixels of the strip, from -1 to 1 across the whole slice."""
    height, width = config.size
    rows = np.linspace(-1, 1, height, dtype=np.float32)
    if config.rows:
        start = int(generator.integers(0, height - config.rows, endpoint=True))
        rows = rows[start : start + config.rows]
    return np.meshgrid(rows, np.linspace(-1, 1, width, dtype=np.float32), indexing="ij")


def _varied(
    rows: np.ndarray, columns: np.ndarray, config: SimulationConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the image each pixel looks: flipped, turned, magnified, bent."""
    angle = np.deg2rad(generator.uniform(-config.turn, config.turn))
    if generator.uniform() < 0.1:
        angle = generator.uniform(-np.pi, np.pi)
    flips = generator.choice((-1.0, 1.0), 2)
    zoom = generator.uniform(*config.zoom, 2)
    aspect = config.size[1] / config.size[0]
    # turn in units of length, not of the two different half sizes
    down, across = rows, columns * aspect
    turned = (
        np.cos(angle) * down - np.sin(angle) * across,
        (np.sin(angle) * down + np.cos(angle) * across) / aspect,
    )
    shift = generator.uniform(-0.05, 0.05, 2)
    places = [flips[i] * turned[i] / zoom[i] + shift[i] for i in range(2)]
    waves, phases = generator.uniform(1, 4, (2, 2)), generator.uniform(0, 2 * np.pi, 2)
    reach = generator.uniform(0, 2 * config.bend, 2)
    bends = [reach[i] * np.sin(waves[i, 0] * rows + waves[i, 1] * columns + phases[i])
             for i in range(2)]  # fmt: skip
    return places[0] + bends[0], places[1] + bends[1]


def _recoloured(
    magnitude: np.ndarray, config: SimulationConfig, generator: np.random.Generator
) -> np.ndarray:
    changed = magnitude ** generator.uniform(*config.gamma)
    if generator.uniform() < config.invert:
        # what is bright inside turns dark; the background stays dark
        changed = changed * np.clip(1.4 - changed, 0.1, None) * 1.5
    return np.asarray(changed * generator.uniform(0.75, 1.3))


def smooth_phase(
    rows: np.ndarray, columns: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """A phase of second order in the place, as a field that is not quite even gives."""
    terms = (rows, columns, rows * columns, rows**2, columns**2)
    weights = generator.normal(0, (1.5, 1.5, 1.0, 1.0, 1.0))
    total = sum(weight * term for weight, term in zip(weights, terms, strict=True))
    return np.asarray(total + generator.uniform(0, 2 * np.pi))


def coil_maps(
    rows: np.ndarray, columns: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Loops on an ellipse around the slice: strong beside the loop, a phase that turns with it.

    Args:
        rows: Places from -1 to 1.
        columns: Places from -1 to 1.
        count: Loops.
        generator: Draws.

    Returns:
        Sensitivities of unit sum of squares.

    Shape:
        rows, columns: (H, W), result (count, H, W) complex64.
    """
    turn, ring = generator.uniform(0, 2 * np.pi), generator.uniform(0.95, 1.4)
    width, power = generator.uniform(0.25, 0.6), generator.uniform(0.8, 1.4)
    maps = np.empty((count, *rows.shape), dtype=np.complex64)
    for coil in range(count):
        angle = turn + 2 * np.pi * coil / count + generator.normal(0, 0.08)
        down = rows - ring * np.cos(angle) * generator.uniform(0.9, 1.1)
        across = columns - ring * np.sin(angle) * generator.uniform(0.9, 1.1)
        strength = (down**2 + across**2 + width**2) ** -power
        tilt = generator.normal(0, 0.6, 2)
        phase = np.arctan2(across, down) + tilt[0] * rows + tilt[1] * columns
        maps[coil] = strength * np.exp(1j * phase)
    return np.asarray(maps / np.sqrt((np.abs(maps) ** 2).sum(0)))


def to_kspace(images: np.ndarray) -> np.ndarray:
    """The centred orthonormal transform of the last two axes."""
    axes = (-2, -1)
    moved = np.fft.fft2(np.fft.ifftshift(images, axes=axes), axes=axes, norm="ortho")
    return np.asarray(np.fft.fftshift(moved, axes=axes))


def sources_of(images: Sequence[np.ndarray]) -> list[ImageSource]:
    """Every slice of every volume that shows something.

    Args:
        images: Volumes of magnitudes or of complex numbers.

    Shape:
        each: (S, H, W).
    """
    slices = [np.abs(plane) for volume in images for plane in volume]
    peak = max((float(np.percentile(each, 99)) for each in slices), default=0.0)
    return [ImageSource(each) for each in slices if np.percentile(each, 99) > 0.1 * peak]
