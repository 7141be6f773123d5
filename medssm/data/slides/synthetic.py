"""Synthetic slides: glass, tissue and, in every second one, lesions of known outline."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from medssm.core.files import atomic_path, write_json
from medssm.data.bags.slide_table import SlideRow, write_slide_table

# colours of eosin and haematoxylin as they come out of a scanner
_GLASS = np.array([243, 242, 244], dtype=np.float32)
_STROMA = np.array([226, 168, 200], dtype=np.float32)
_LESION = np.array([176, 120, 178], dtype=np.float32)
_NUCLEUS = np.array([92, 62, 132], dtype=np.float32)
_NOISE = 2.5
_TILE_PX = 256
_OUTLINE_POINTS = 48
# share of the pixels where a nucleus begins
_NUCLEI, _NUCLEI_IN_LESION = 0.0012, 0.006


@dataclass(frozen=True)
class SyntheticShape:
    """The grid of a synthetic slide.

    Args:
        size: Width and height of level 0.
        mpp: Micrometres a pixel, written into the file; None leaves it out.
        levels: Of the pyramid, each half as wide as the one before.
    """

    size: tuple[int, int] = (1536, 1152)
    mpp: float | None = 0.5
    levels: int = 3


@dataclass(frozen=True)
class SyntheticSlide:
    """One slide in memory.

    Args:
        rgb: Level 0, uint8, (H, W, 3).
        tissue: Where tissue is, (H, W).
        lesion: Where a lesion is, (H, W); nowhere in a normal slide.
        outlines: Outlines of the lesions, x and y in pixels of level 0, each (K, 2).
    """

    rgb: np.ndarray
    tissue: np.ndarray
    lesion: np.ndarray
    outlines: tuple[np.ndarray, ...]


def make_synthetic_slides(
    folder: Path, n: int, seed: int = 0, shape: SyntheticShape | None = None
) -> Path:
    """Write pyramidal TIFF files, normal and tumour in turn, and what is true of them.

    Args:
        folder: Gets slide_000.tiff, ..., lesions/slide_001.geojson, ... and labels.csv.
        n: How many.
        seed: Slide i is a function of (seed, i).
        shape: The grid.

    Returns:
        The table with case_id, slide_id and label.
    """
    folder, shape = Path(folder), shape or SyntheticShape()
    rows = []
    for index in range(n):
        name = f"slide_{index:03d}"
        sick = index % 2 == 1
        slide = synthetic_slide(seed, index, sick, shape)
        write_pyramid(folder / f"{name}.tiff", slide.rgb, shape.mpp, shape.levels)
        write_json(folder / "lesions" / f"{name}.geojson", _geojson(slide.outlines))
        rows.append(SlideRow(name, f"patient_{index:03d}", "tumour" if sick else "normal"))
    return write_slide_table(folder / "labels.csv", rows)


def synthetic_slide(seed: int, index: int, sick: bool, shape: SyntheticShape) -> SyntheticSlide:
    """Draw one slide.

    Args:
        seed: Of the set.
        index: Of the slide.
        sick: Whether it has lesions.
        shape: The grid.
    """
    rng = np.random.default_rng([seed, index])
    width, height = shape.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    tissue = np.zeros((height, width), dtype=bool)
    middles = []
    for _ in range(2):
        middle = (rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height)
        radius = rng.uniform(0.24, 0.32) * min(width, height)
        tissue |= _blob(x, y, middle, _outline(rng, middle, radius))
        middles.append((middle, radius))
    outlines = []
    lesion = np.zeros_like(tissue)
    for middle, radius in middles[: 2 if sick else 0]:
        outline = _outline(rng, middle, rng.uniform(0.45, 0.6) * radius)
        outlines.append(outline)
        lesion |= _blob(x, y, middle, outline) & tissue
    return SyntheticSlide(_paint(rng, tissue, lesion), tissue, lesion, tuple(outlines))


def write_pyramid(file: Path, rgb: np.ndarray, mpp: float | None, levels: int = 3) -> Path:
    """Write a tiled pyramid as OpenSlide's generic TIFF, deflated without loss.

    Args:
        file: The file.
        rgb: Level 0, uint8, (H, W, 3).
        mpp: Micrometres a pixel; None writes none.
        levels: Of the pyramid, each half as wide as the one before.
    """
    per_cm = None if mpp is None else (1e4 / mpp, 1e4 / mpp)
    with atomic_path(file) as partial, tifffile.TiffWriter(partial) as writer:
        picture = rgb
        for level in range(levels):
            writer.write(
                picture,
                tile=(_TILE_PX, _TILE_PX),
                photometric="rgb",
                compression="zlib",
                subfiletype=1 if level else 0,
                resolution=per_cm if level == 0 else None,
                resolutionunit="CENTIMETER" if per_cm and level == 0 else "NONE",
                metadata=None,
            )
            picture = _halved(picture)
    return file


def _outline(rng: np.random.Generator, middle: tuple[float, float], radius: float) -> np.ndarray:
    """A closed wavy line around a middle, (K, 2)."""
    angle = np.arange(_OUTLINE_POINTS) * (2 * np.pi / _OUTLINE_POINTS)
    reach = np.full(_OUTLINE_POINTS, radius)
    for wave in (2, 3, 5):
        reach += radius * rng.uniform(0.03, 0.12) * np.cos(wave * angle + rng.uniform(0, 6.3))
    return np.stack([middle[0] + reach * np.cos(angle), middle[1] + reach * np.sin(angle)], axis=1)


def _blob(
    x: np.ndarray, y: np.ndarray, middle: tuple[float, float], outline: np.ndarray
) -> np.ndarray:
    """Pixels inside an outline that can be seen from its middle."""
    reach = np.hypot(outline[:, 0] - middle[0], outline[:, 1] - middle[1])
    angle = np.arctan2(y - middle[1], x - middle[0]) % (2 * np.pi)
    place = angle * (_OUTLINE_POINTS / (2 * np.pi))
    limit = np.interp(place, np.arange(_OUTLINE_POINTS + 1), [*reach, reach[0]])
    return np.asarray(np.hypot(x - middle[0], y - middle[1]) < limit)


def _paint(rng: np.random.Generator, tissue: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    stain = 4 * rng.standard_normal(3, dtype=np.float32)
    picture = np.where(lesion[..., None], _LESION + stain, _STROMA + stain)
    fibre = rng.standard_normal(tissue.shape, dtype=np.float32)
    fibre = ndimage.gaussian_filter(fibre, (2, 9))
    picture += (14 * fibre / fibre.std())[..., None]
    seeds = rng.random(tissue.shape, dtype=np.float32) < np.where(
        lesion, _NUCLEI_IN_LESION, _NUCLEI
    )
    nuclei = ndimage.distance_transform_edt(~(seeds & tissue)) < rng.uniform(4.5, 5.5)
    picture[nuclei] = _NUCLEUS + stain
    picture = np.where(tissue[..., None], picture, _GLASS)
    picture = ndimage.gaussian_filter(picture, (0.8, 0.8, 0))
    picture += _NOISE * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def _halved(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    squares = picture[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
    return np.round(squares.mean(axis=(1, 3))).astype(np.uint8)


def _geojson(outlines: tuple[np.ndarray, ...]) -> dict[str, object]:
    """Outlines as QuPath reads them."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]},
            "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}},
        }
        for ring in outlines
    ]
    return {"type": "FeatureCollection", "features": features}
