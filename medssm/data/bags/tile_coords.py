"""Places of tiles without features: the HDF5 files that CLAM and TRIDENT write before encoding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.data.bags.bag import opened_hdf5, plain_attribute


@dataclass(frozen=True)
class TileCoords:
    """Where the tiles of a slide lie.

    Args:
        name: The slide's id.
        coords: Top left corners x, y in pixels of level 0.
        tile_px: Edge of a tile as it is encoded.
        tile_px_level0: Edge of a tile in pixels of level 0.
        overlap_px: What neighbours share, in pixels as encoded.
        size_level0: Width and height of the slide, where known.
        facts: Further attributes of the file.

    Shape:
        coords: (N, 2).
    """

    name: str
    coords: np.ndarray
    tile_px: int
    tile_px_level0: float
    overlap_px: int = 0
    size_level0: tuple[int, int] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_tile_coords(file: Path) -> TileCoords:
    """Read patches/SLIDE.h5 of CLAM or SLIDE_patches.h5 of TRIDENT.

    Raises:
        BadDataError: Not readable, no coords, or their attributes do not tell the tiles' size.
        MachineError: h5py is not installed.
    """
    file = Path(file)
    with opened_hdf5(file) as content:
        if "coords" not in content:
            raise BadDataError(
                f"{file}: holds {', '.join(content) or 'nothing'}. Expected the dataset coords "
                "(N, 2) with attributes, as CLAM and TRIDENT write it."
            )
        coords = np.asarray(content["coords"]).reshape(-1, 2).astype(np.int64)
        facts = {key: plain_attribute(value) for key, value in content["coords"].attrs.items()}
    name = str(facts.get("name") or file.stem.removesuffix("_patches"))
    try:
        if "patch_size_level0" in facts:
            return _of_trident(name, coords, facts)
        return _of_clam(name, coords, facts)
    except (KeyError, TypeError, ValueError, IndexError):
        raise BadDataError(
            f"{file}: the attributes of coords are {', '.join(sorted(facts)) or 'none'}. Expected "
            "patch_size with patch_level and downsample (CLAM) or patch_size_level0 (TRIDENT), "
            "since coords alone do not tell how large a tile is."
        ) from None


def _of_trident(name: str, coords: np.ndarray, facts: dict[str, Any]) -> TileCoords:
    width, height = facts.get("level0_width"), facts.get("level0_height")
    return TileCoords(
        name=name,
        coords=coords,
        tile_px=int(facts["patch_size"]),
        tile_px_level0=float(facts["patch_size_level0"]),
        overlap_px=int(facts.get("overlap") or 0),
        size_level0=None if width is None or height is None else (int(width), int(height)),
        facts=facts,
    )


def _of_clam(name: str, coords: np.ndarray, facts: dict[str, Any]) -> TileCoords:
    """CLAM's level_dim is the size of the level of the tiles."""
    down = [float(each) for each in facts["downsample"]]
    size = facts.get("level_dim")
    return TileCoords(
        name=name,
        coords=coords,
        tile_px=int(facts["patch_size"]),
        tile_px_level0=int(facts["patch_size"]) * down[0],
        size_level0=None if size is None else (round(size[0] * down[0]), round(size[1] * down[1])),
        facts=facts,
    )


def write_tile_coords(
    file: Path, tiles: TileCoords, layout: Literal["clam", "trident"] = "trident"
) -> Path:
    """Write the places of tiles as CLAM or TRIDENT reads them.

    Args:
        file: The file; its folder is made.
        tiles: The places. For CLAM, `facts` may name read_level and downsample; else level 0.
        layout: Whose attributes.

    Raises:
        MachineError: h5py is not installed.
    """
    h5py: Any = require("h5py", "pathology")
    attributes = clam_attributes(tiles, file) if layout == "clam" else trident_attributes(tiles)
    if layout == "trident":
        attributes["savetodir"] = file.parent.name
    kind = np.int64 if layout == "trident" else np.int32
    with atomic_path(file) as partial, h5py.File(partial, "w") as content:
        coords = content.create_dataset("coords", data=tiles.coords.astype(kind))
        coords.attrs.update(attributes)
    return file


def clam_attributes(tiles: TileCoords, file: Path) -> dict[str, Any]:
    """What CLAM keeps beside coords: the size of a tile at a level of the pyramid."""
    level = int(tiles.facts.get("read_level") or 0)
    down = float(tiles.facts.get("level_downsample") or 1.0)
    width, height = tiles.size_level0 or (0, 0)
    size = (round(width / down), round(height / down))
    return {
        "patch_size": round(tiles.tile_px_level0 / down),
        "patch_level": level,
        "downsample": (down, down),
        "downsampled_level_dim": size,
        "level_dim": size,
        "name": tiles.name,
        "save_path": file.parent.name,
    }


def trident_attributes(tiles: TileCoords) -> dict[str, Any]:
    """What TRIDENT keeps beside coords: the size of a tile at level 0 and as encoded."""
    width, height = tiles.size_level0 or (0, 0)
    return {
        "patch_size": tiles.tile_px,
        "patch_size_level0": round(tiles.tile_px_level0),
        "level0_magnification": tiles.facts.get("level0_magnification") or "None",
        "target_magnification": tiles.facts.get("target_magnification") or "None",
        "overlap": tiles.overlap_px,
        "name": tiles.name,
        "level0_width": width,
        "level0_height": height,
    }
