"""A picture of the scores of tiles, aligned to the slide; it needs the places of tiles alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image, PngImagePlugin
from scipy import ndimage
from scipy.stats import rankdata

from medssm.core.errors import BadArgumentError, BadDataError
from medssm.core.files import atomic_path
from medssm.core.log import warn
from medssm.data.bags import Bag
from medssm.data.slides import open_slide, thumbnail

# a picture larger than this helps nobody
_MOST_PIXELS = 4e7
_DOWNSAMPLE = 32.0
# the longer edge that a small slide gets at least
_EDGE_PX = 1000


@dataclass(frozen=True)
class TileMap:
    """Where the tiles of a slide lie.

    Args:
        coords: Top left corners x, y in pixels of level 0.
        tile_px_level0: Edge of a tile in pixels of level 0.
        size_level0: Width and height of level 0.
        origin: Where the scanned part begins, pixels of level 0; QuPath counts from there.

    Shape:
        coords: (N, 2).
    """

    coords: np.ndarray
    tile_px_level0: float
    size_level0: tuple[int, int]
    origin: tuple[int, int] = (0, 0)

    @classmethod
    def of_bag(cls, bag: Bag, tile_px_level0: float | None = None) -> "TileMap":
        """The places of a bag, sizes as its file tells them.

        Args:
            bag: Features with places.
            tile_px_level0: Edge of a tile in pixels of level 0, where the file does not say it.

        Raises:
            BadDataError: The bag has no places, or nobody says how large a tile is.
        """
        if bag.coords is None:
            raise BadDataError(
                f"{bag.source}: no places of tiles, as in every .pt file. Expected an .h5 with "
                "coords; a heatmap cannot be drawn without them."
            )
        size = tile_px_level0 or bag.facts.get("tile_px_level0")
        size = size or bag.facts.get("patch_size_level0")
        if not size and (size := _closest(bag.coords)):
            warn(
                "%s: tiles taken as %g pixels of level 0, the step of their grid", bag.source, size
            )
        if not size:
            raise BadDataError(
                f"{bag.source}: the file does not tell how large a tile is (CLAM writes no "
                "attributes beside features). Give it with tile_px_level0=512."
            )
        far = bag.coords.max(axis=0, initial=0) + int(float(size))
        width = int(bag.facts.get("level0_width") or far[0])
        height = int(bag.facts.get("level0_height") or far[1])
        origin = bag.facts.get("origin") or (0, 0)
        return cls(bag.coords, float(size), (width, height), (int(origin[0]), int(origin[1])))


def _closest(coords: np.ndarray) -> float:
    """The step of the grid, which is a tile's size where tiles do not overlap; 0 if unknown."""
    gaps = [np.diff(np.unique(coords[:, axis])) for axis in (0, 1)]
    return min((float(gap.min()) for gap in gaps if len(gap)), default=0.0)


@dataclass(frozen=True)
class HeatmapStyle:
    """How a heatmap looks.

    Args:
        downsample: Level-0 pixels a pixel of the picture, about; None takes 32, and less where
            the slide is small.
        percentile: Colours by the rank of a score within the slide; else between low and high.
        low: The score of the first colour.
        high: The score of the last colour.
        colours: A colour map of matplotlib.
        opacity: Of the colours over the slide.
        blur_tiles: Width of a blur, in tiles.
    """

    downsample: float | None = None
    percentile: bool = True
    low: float = 0.0
    high: float = 1.0
    colours: str = "coolwarm"
    opacity: float = 0.4
    blur_tiles: float = 0.0


def write_heatmap(
    output: Path,
    tiles: TileMap,
    scores: np.ndarray,
    slide: Path | None = None,
    style: HeatmapStyle | None = None,
) -> Path:
    """Draw scores over the slide, or over white where the slide is not at hand.

    Pixel (i, j) of the picture covers level-0 pixels from i * scale_x, j * scale_y; the scale is
    written into the file as the text `medssm`.

    Args:
        output: The PNG.
        tiles: Where the tiles lie.
        scores: One a tile.
        slide: The slide's file.
        style: How it looks.

    Raises:
        BadArgumentError: Not one finite score a tile, or no such colour map.
        BadDataError: The slide cannot be read, or is another one.
    """
    style = style or HeatmapStyle()
    scores = checked_scores(tiles, scores)
    if style.colours not in colormaps:
        raise BadArgumentError(
            f"heatmap colours {style.colours!r} are no colour map of matplotlib."
        )
    width, height = tiles.size_level0
    down = _downsample(tiles, style)
    if slide is None:
        shape = (max(1, int(np.ceil(height / down))), max(1, int(np.ceil(width / down))))
        picture, scale = np.full((*shape, 3), 255, np.uint8), (down, down)
    else:
        picture, scale = _below(slide, tiles, down)
    values, covered = painted(tiles, _shades(scores, style), picture.shape[:2], scale)
    if style.blur_tiles > 0:
        values = _blurred(values, covered, style.blur_tiles * tiles.tile_px_level0 / scale[0])
    colours = 255 * colormaps[style.colours](values)[..., :3]
    opacity = style.opacity * covered[..., None]
    mixed = np.round(picture * (1 - opacity) + colours * opacity).astype(np.uint8)
    told = PngImagePlugin.PngInfo()
    facts = {"scale_level0": scale, "size_level0": tiles.size_level0, "tiles": len(scores)}
    told.add_text("medssm", json.dumps(facts))
    with atomic_path(output) as partial:
        Image.fromarray(mixed).save(partial, format="PNG", pnginfo=told)
    return output


def _downsample(tiles: TileMap, style: HeatmapStyle) -> float:
    width, height = tiles.size_level0
    wish = style.downsample
    if wish is None:
        wish = max(1.0, min(_DOWNSAMPLE, max(width, height) / _EDGE_PX))
    return max(wish, float(np.sqrt(width * height / _MOST_PIXELS)))


def checked_scores(tiles: TileMap, scores: np.ndarray) -> np.ndarray:
    """Scores as one finite number a tile.

    Raises:
        BadArgumentError: They are not.
    """
    scores = np.asarray(scores, dtype=np.float64).reshape(-1)
    if len(scores) != len(tiles.coords) or not np.isfinite(scores).all():
        raise BadArgumentError(
            f"{len(scores)} scores, {int((~np.isfinite(scores)).sum())} of them not finite, for "
            f"{len(tiles.coords)} tiles; expected one finite score a tile."
        )
    return scores


def percentiles(scores: np.ndarray) -> np.ndarray:
    """Rank within the slide, 0 to 1; equal scores share the middle of their ranks."""
    if len(scores) < 2:
        return np.full(len(scores), 0.5)
    return np.asarray((rankdata(scores) - 1) / (len(scores) - 1))


def _shades(scores: np.ndarray, style: HeatmapStyle) -> np.ndarray:
    if style.percentile:
        return percentiles(scores)
    return np.clip((scores - style.low) / max(style.high - style.low, 1e-12), 0, 1)


def _below(slide: Path, tiles: TileMap, down: float) -> tuple[np.ndarray, tuple[float, float]]:
    with open_slide(slide) as opened:
        if opened.size != tiles.size_level0:
            raise BadDataError(
                f"{slide}: {opened.size[0]} x {opened.size[1]} pixels; the tiles were cut from "
                f"{tiles.size_level0[0]} x {tiles.size_level0[1]}. Give the slide they come from."
            )
        small = thumbnail(opened, down)
    return small.rgb, small.scale


def painted(
    tiles: TileMap, shades: np.ndarray, shape: tuple[int, int], scale: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean shade of the tiles over each pixel, and where there is any.

    Shape:
        shades: (N,); both results: (H, W) as `shape`.
    """
    total, count = np.zeros(shape), np.zeros(shape)
    first = np.round(tiles.coords / scale).astype(int)
    last = np.round((tiles.coords + tiles.tile_px_level0) / scale).astype(int)
    # a tile smaller than a pixel still is seen
    last = np.maximum(last, first + 1)
    for (left, top), (right, bottom), shade in zip(first, last, shades, strict=True):
        here = (slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right)))
        total[here] += shade
        count[here] += 1
    return total / np.maximum(count, 1), count > 0


def _blurred(values: np.ndarray, covered: np.ndarray, sigma: float) -> np.ndarray:
    """Blur among covered pixels alone: the outside has no score to mix in."""
    weight = ndimage.gaussian_filter(covered.astype(np.float64), sigma)
    blurred = ndimage.gaussian_filter(np.where(covered, values, 0.0), sigma)
    return np.asarray(np.clip(blurred / np.maximum(weight, 1e-9), 0, 1))
