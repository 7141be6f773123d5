"""Where the tiles of a slide lie: by physical size, or exactly as TRIDENT and CLAM place them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.data.bags import order_of, read_tile_coords
from medssm.data.bags.order import Order
from medssm.data.slides import Slide
from medssm.data.slides.resolution import magnification_of
from medssm.fields.pathology.contours import ContourFilter, regions
from medssm.fields.pathology.tissue import TissueMask

Mode = Literal["mpp", "trident", "clam", "file"]
# of a tile that has to be tissue; TRIDENT's default takes any touch
_LEAST_TISSUE = {"mpp": 0.25, "trident": 0.0}
_ROUNDING = 1e-9
_ORDERS = {"mpp": "row", "trident": "row", "clam": "contours", "file": "file"}


@dataclass(frozen=True)
class TileConfig:
    """How a slide is cut.

    Args:
        mode: "mpp" cuts squares of size_px at mpp micrometres a pixel, whatever the scanner;
            "trident" and "clam" place tiles as those tools do; "file" takes places from files.
        size_px: Edge of a tile as it is encoded.
        mpp: Micrometres a pixel of a tile (mode mpp).
        magnification: Of a tile (mode trident).
        level: Of the pyramid (mode clam).
        overlap_px: What neighbours share, pixels as encoded.
        least_tissue: Share of a tile that has to be tissue (modes mpp and trident); None takes
            0.25 for mpp and any touch for trident.
        order: In which order tiles are stored; "file" leaves the order of the mode.
        border: Tiles over the border of the slide are filled with white, or dropped.
        coords: Folder with SLIDE.h5 or SLIDE_patches.h5 of CLAM or TRIDENT (mode file).
        contours: Which pieces of tissue and holes count (mode clam).
    """

    mode: Mode = "mpp"
    size_px: int = 256
    mpp: float = 0.5
    magnification: int = 20
    level: int = 0
    overlap_px: int = 0
    least_tissue: float | None = None
    order: Order = "file"
    border: Literal["white", "drop"] = "white"
    coords: str | None = None
    contours: ContourFilter = field(default_factory=ContourFilter)

    def __post_init__(self) -> None:
        if self.size_px < 8 or not 0 <= self.overlap_px < self.size_px:
            raise UsageError(
                f"preprocess.tiles.size_px={self.size_px} and overlap_px={self.overlap_px}; "
                "expected at least 8 pixels, and an overlap below the size."
            )
        if self.mpp <= 0 or self.magnification <= 0 or self.level < 0:
            raise UsageError(
                f"preprocess.tiles: mpp={self.mpp}, magnification={self.magnification}, "
                f"level={self.level}; expected above 0, the level 0 or more."
            )
        if self.mode == "file" and self.coords is None:
            raise UsageError(
                "preprocess.tiles.mode=file needs preprocess.tiles.coords=FOLDER with the files "
                "SLIDE.h5 in it."
            )

    @property
    def stored_order(self) -> str:
        """The order of the rows in a file."""
        return _ORDERS[self.mode] if self.order == "file" else self.order


@dataclass(frozen=True)
class Tiling:
    """The tiles of a slide.

    Args:
        coords: Top left corners x, y, whole pixels of level 0.
        size_level0: Edge of a tile in pixels of level 0; it need not be whole.
        size_px: Edge of a tile as it is encoded.
        magnification: Of level 0, where the mode gives it one.

    Shape:
        coords: (N, 2).
    """

    coords: np.ndarray
    size_level0: float
    size_px: int
    magnification: int | None = None


def tile_slide(slide: Slide, mpp: float, tissue: TissueMask, config: TileConfig) -> Tiling:
    """Place the tiles of a slide.

    Args:
        slide: The slide.
        mpp: Of level 0, micrometres a pixel.
        tissue: Where tissue is.
        config: How.

    Raises:
        BadDataError: The slide is too coarse for what is asked for, or has no such level.
    """
    places: dict[str, Callable[[Slide, float, TissueMask, TileConfig], Tiling]] = {
        "mpp": _by_mpp,
        "trident": _as_trident,
        "clam": _as_clam,
        "file": _of_file,
    }
    tiling = places[config.mode](slide, mpp, tissue, config)
    coords = tiling.coords
    if config.border == "drop":
        inside = (coords + tiling.size_level0 <= np.array(slide.size) + 0.5).all(axis=1)
        coords = coords[inside & (coords >= 0).all(axis=1)]
    coords = coords[order_of(coords, config.order)]
    return Tiling(coords, tiling.size_level0, tiling.size_px, tiling.magnification)


def _by_mpp(slide: Slide, mpp: float, tissue: TissueMask, config: TileConfig) -> Tiling:
    """One grid over the slide; the step is exact, corners are rounded to whole pixels."""
    ratio = config.mpp / mpp
    if ratio < 0.5:
        raise BadDataError(
            f"{slide.path}: {mpp:g} micrometres a pixel, tiles asked for at {config.mpp:g}. A "
            "slide cannot be made finer by more than two times; take "
            f"preprocess.tiles.mpp={mpp:.2g}."
        )
    coords = _grid(slide.size, (config.size_px - config.overlap_px) * ratio)
    return _on_tissue(Tiling(coords, config.size_px * ratio, config.size_px), tissue, config)


def _as_trident(slide: Slide, mpp: float, tissue: TissueMask, config: TileConfig) -> Tiling:
    """TRIDENT's sizes: whole numbers from magnifications, not from micrometres."""
    power = magnification_of(mpp, str(slide.path))
    if power < config.magnification:
        raise BadDataError(
            f"{slide.path}: counts as {power}x ({mpp:g} micrometres a pixel), tiles asked for at "
            f"{config.magnification}x. Take preprocess.tiles.magnification={power}."
        )
    size = config.size_px * power // config.magnification
    overlap = config.overlap_px * power // config.magnification
    coords = _grid(slide.size, size - overlap)
    return _on_tissue(Tiling(coords, float(size), config.size_px, power), tissue, config)


def _grid(size: tuple[int, int], step: float) -> np.ndarray:
    """Corners over the whole slide, along x first."""
    columns, rows = (
        np.round(np.arange(int(np.ceil(n / step))) * step).astype(np.int64) for n in size
    )
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _on_tissue(tiling: Tiling, tissue: TissueMask, config: TileConfig) -> Tiling:
    least = config.least_tissue
    share = tissue_share(tissue, tiling.coords, tiling.size_level0)
    least = _LEAST_TISSUE[config.mode] if least is None else least
    # sums of a whole slide leave a rounding error where there is nothing
    keep = (share > _ROUNDING) & (share >= least - _ROUNDING)
    return Tiling(tiling.coords[keep], tiling.size_level0, tiling.size_px, tiling.magnification)


def tissue_share(tissue: TissueMask, coords: np.ndarray, size_level0: float) -> np.ndarray:
    """How much of each tile is tissue, parts of the mask's pixels counted exactly.

    Shape:
        coords: (N, 2); result: (N,).
    """
    summed = np.pad(tissue.mask.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    edges = [
        np.stack([coords[:, axis], coords[:, axis] + size_level0]) / tissue.scale[axis]
        for axis in (0, 1)
    ]
    (left, right), (top, bottom) = edges
    area = (
        _between(summed, bottom, right) - _between(summed, top, right)
        - _between(summed, bottom, left) + _between(summed, top, left)
    )  # fmt: skip
    return np.asarray(area / ((right - left) * (bottom - top)))


def _between(summed: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A summed-area table between its entries: bilinear, which is exact for a mask of squares."""
    y, x = np.clip(y, 0, summed.shape[0] - 1), np.clip(x, 0, summed.shape[1] - 1)
    row = np.minimum(y.astype(np.int64), max(summed.shape[0] - 2, 0))
    column = np.minimum(x.astype(np.int64), max(summed.shape[1] - 2, 0))
    v, u = y - row, x - column
    upper = summed[row, column] * (1 - u) + summed[row, column + 1] * u
    lower = summed[row + 1, column] * (1 - u) + summed[row + 1, column + 1] * u
    return np.asarray(upper * (1 - v) + lower * v)


def _as_clam(slide: Slide, mpp: float, tissue: TissueMask, config: TileConfig) -> Tiling:  # noqa: ARG001
    """CLAM's places: a grid a contour from its own corner, along y first, any of four points in.

    Where the mask is not of level 0, CLAM rounds the corners of its contours down to pixels of
    level 0; here the boxes are rounded and the points are not, so a tile whose test point lies
    within a pixel of a contour may differ.

    Source:
        Lu et al., 2021 (CLAM): four points a quarter of a tile from its middle; a middle in a hole
        is out; tiles over the border are kept.
    """
    if config.level >= len(slide.scan.level_sizes):
        raise BadDataError(
            f"{slide.path}: has the levels 0 to {len(slide.scan.level_sizes) - 1}, tiles asked "
            f"for at level {config.level}. Take preprocess.tiles.mode=mpp, which needs "
            "no levels."
        )
    down = slide.downsamples[config.level]
    size = [int(config.size_px * each) for each in down]
    step = [int((config.size_px - config.overlap_px) * each) for each in down]
    found = [np.zeros((0, 2), dtype=np.int64)]
    for region in regions(tissue.mask, tissue.scale, config.contours):
        left, top, width, height = region.box_level0(tissue.scale)
        x, y = np.meshgrid(
            np.arange(left, left + width, step[0]),
            np.arange(top, top + height, step[1]),
            indexing="ij",
        )
        coords = np.stack([x.ravel(), y.ravel()], axis=1)
        middle = coords + np.array(size) // 2
        shift = size[0] // 2 // 2
        inside = np.zeros(len(coords), dtype=bool)
        for sign in ((-1, -1), (1, 1), (1, -1), (-1, 1)):
            inside |= region.contains((middle + shift * np.array(sign)) / tissue.scale)
        centre = coords + np.array(size) / 2
        found.append(coords[inside & ~region.in_hole(centre / tissue.scale)])
    return Tiling(np.concatenate(found), config.size_px * down[0], config.size_px)


def given_places(config: TileConfig, slide: Path) -> Path | None:
    """The file of another tool with the places of a slide's tiles, if there is one."""
    if config.mode != "file":
        return None
    folder = Path(str(config.coords)).expanduser()
    return next((folder / name for name in _names(slide) if (folder / name).is_file()), None)


def _names(slide: Path) -> tuple[str, str]:
    return f"{slide.stem}.h5", f"{slide.stem}_patches.h5"


def _of_file(slide: Slide, mpp: float, tissue: TissueMask, config: TileConfig) -> Tiling:  # noqa: ARG001
    """Places that another tool has written; sizes as the file tells them."""
    file = given_places(config, slide.path)
    if file is None:
        raise BadDataError(
            f"{config.coords}: neither {' nor '.join(_names(slide.path))} is there. Expected "
            "places of tiles as CLAM (patches/) and TRIDENT (patches/) write them."
        )
    tiles = read_tile_coords(file)
    if tiles.size_level0 is not None and tiles.size_level0 != slide.size:
        wide, high = tiles.size_level0
        # CLAM stores the size of a level, so level 0 comes back within a pixel of a coarse level
        if max(abs(wide - slide.size[0]), abs(high - slide.size[1])) > 0.02 * max(slide.size):
            raise BadDataError(
                f"{file}: made on a slide of {wide} x {high} pixels, {slide.path} has "
                f"{slide.size[0]} x {slide.size[1]}. Expected places on the same scan."
            )
    power = tiles.facts.get("level0_magnification")
    return Tiling(tiles.coords, tiles.tile_px_level0, tiles.tile_px, power and int(power))
