"""Small slides for tests: drawn from a seed, blank, cut off or damaged."""

from pathlib import Path

import numpy as np
import pytest

from medssm.data.slides.synthetic import SyntheticShape, synthetic_slide, write_pyramid

SHAPE = SyntheticShape(size=(640, 512), levels=2)
PACKAGES = ("openslide", "tiffslide", "timm", "h5py")


def need_pathology() -> None:
    """Skip the asking module where the extra is not installed."""
    for package in PACKAGES:
        pytest.importorskip(package)


def make_slide(file: Path, seed: int = 0, sick: bool = True, mpp: float | None = 0.5) -> Path:
    """A whole slide of two levels."""
    slide = synthetic_slide(seed, 0, sick, SHAPE)
    return write_pyramid(file, slide.rgb, mpp, SHAPE.levels)


def make_blank(file: Path, noise: float = 4.0) -> Path:
    """Glass and the noise of a camera."""
    rng = np.random.default_rng(0)
    rgb = 240 + rng.normal(0, noise, (512, 640, 3))
    return write_pyramid(file, np.clip(np.round(rgb), 0, 255).astype(np.uint8), 0.5, 2)


def make_truncated(file: Path, whole: Path, share: float) -> Path:
    """The first part of a file."""
    content = whole.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    return file


def make_damaged(file: Path, whole: Path, tile: int, page: int = 0) -> Path:
    """A file whose pixels of one tile are noise; the directories stay whole."""
    import tifffile

    with tifffile.TiffFile(whole) as content:
        at, count = (
            content.pages[page].dataoffsets[tile],
            content.pages[page].databytecounts[tile],
        )
    raw = np.frombuffer(whole.read_bytes(), np.uint8).copy()
    rng = np.random.default_rng(tile)
    raw[at : at + count] = rng.integers(0, 256, count)
    file.write_bytes(raw.tobytes())
    return file
