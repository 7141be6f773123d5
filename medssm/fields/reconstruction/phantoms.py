"""Heads that nobody has: images with a skull, tissue, furrows and lesions, from a generator."""

import numpy as np
from scipy import ndimage


def head_phantom(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """A magnitude image that looks like an axial slice of a head.

    An ellipse of scalp, a dark ring of skull, tissue from band-passed noise whose zero crossings
    are furrows, two dark ventricles and some ellipses.

    Args:
        size: Rows and columns.
        generator: Draws.

    Returns:
        Values from 0 to about 1.

    Shape:
        result: (H, W) float32.
    """
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, each) for each in size), indexing="ij")
    place = (rows, columns)
    half = (generator.uniform(0.75, 0.92), generator.uniform(0.62, 0.88))
    middle = tuple(generator.uniform(-0.06, 0.06, 2))
    bend = 0.03 * _texture(size, 8.0, generator)
    radius = _radius(place, middle, half, generator.uniform(-0.15, 0.15)) + bend
    skull, brain = generator.uniform(0.86, 0.93), generator.uniform(0.78, 0.85)
    inside = _soft(brain - radius)
    image = generator.uniform(0.7, 1.2) * (_soft(1 - radius) - _soft(skull - radius))
    image += 0.08 * (_soft(skull - radius) - inside)
    image += inside * _tissue(size, radius, generator)
    for _ in range(generator.integers(4, 14)):
        image += inside * _ellipse(place, generator)
    for side in (-1, 1):
        spot = (generator.uniform(-0.2, 0.1), side * generator.uniform(0.06, 0.14))
        width = (generator.uniform(0.1, 0.28), generator.uniform(0.02, 0.07))
        hollow = _soft(1 - _radius(place, spot, width, side * generator.uniform(0, 0.4)), 0.1)
        image = image * (1 - generator.uniform(0.5, 0.9) * hollow)
    return np.clip(image, 0, None).astype(np.float32)


def _tissue(
    size: tuple[int, int], radius: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    coarse = np.tanh(2.0 * _texture(size, generator.uniform(16, 30), generator))
    folds = _texture(size, generator.uniform(22, 40), generator)
    # furrows: thin dark lines, deeper near the rim
    depth = generator.uniform(0.3, 0.6) * np.clip(radius - 0.2, 0, 1)
    lines = np.exp(-((folds / generator.uniform(0.1, 0.25)) ** 2))
    fine = 0.04 * _texture(size, 60.0, generator)
    base = generator.uniform(0.45, 0.7)
    return base + generator.uniform(0.08, 0.2) * coarse + fine - depth * lines


def _texture(size: tuple[int, int], waves: float, generator: np.random.Generator) -> np.ndarray:
    """Band-passed noise with about so many waves across, of unit spread."""
    blur = max(size) / waves / 2
    noise = generator.standard_normal(size).astype(np.float32)
    band = ndimage.gaussian_filter(noise, blur / 2) - ndimage.gaussian_filter(noise, blur)
    return np.asarray(band / max(float(band.std()), 1e-6))


def _ellipse(place: tuple[np.ndarray, np.ndarray], generator: np.random.Generator) -> np.ndarray:
    middle = tuple(generator.uniform(-0.6, 0.6, 2))
    half = tuple(generator.uniform(0.015, 0.16, 2))
    inside = _soft(1 - _radius(place, middle, half, generator.uniform(0, np.pi)), 0.15)
    return np.asarray(generator.uniform(-0.35, 0.35) * inside)


def _radius(
    place: tuple[np.ndarray, np.ndarray],
    middle: tuple[float, ...],
    half: tuple[float, ...],
    angle: float,
) -> np.ndarray:
    """One on the rim of a turned ellipse, smaller inside."""
    rows, columns = (axis - each for axis, each in zip(place, middle, strict=True))
    along = np.cos(angle) * rows + np.sin(angle) * columns
    across = np.cos(angle) * columns - np.sin(angle) * rows
    return np.hypot(along / half[0], across / half[1])


def _soft(depth: np.ndarray, width: float = 0.02) -> np.ndarray:
    """A step of a given width."""
    return np.clip(depth / width + 0.5, 0, 1)
