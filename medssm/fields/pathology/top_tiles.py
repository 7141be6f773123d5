"""The tiles with the highest scores as pictures, to look at what a model looks at."""

from pathlib import Path

import numpy as np
from PIL import Image

from medssm.core.files import atomic_path
from medssm.core.log import warn
from medssm.data.slides import UnreadableRegionError, open_slide, read_tile
from medssm.fields.pathology.heatmap import TileMap, checked_scores

_EDGE_PX = 256


def write_top_tiles(
    folder: Path, tiles: TileMap, scores: np.ndarray, slide: Path, count: int = 10
) -> list[Path]:
    """Write the best tiles, the best first; equal scores keep the order of the file.

    Args:
        folder: Gets 01_x1024_y512.png, ...
        tiles: Where the tiles lie.
        scores: One a tile.
        slide: The slide's file.
        count: How many.

    Returns:
        The pictures.

    Raises:
        BadArgumentError: Not one finite score a tile.
        BadDataError: The slide cannot be opened.
    """
    scores = checked_scores(tiles, scores)
    best = np.argsort(-scores, kind="stable")[:count]
    written = []
    with open_slide(slide) as opened:
        for place, index in enumerate(best, start=1):
            x, y = (int(each) for each in tiles.coords[index])
            try:
                picture = read_tile(opened, (x, y), tiles.tile_px_level0, _EDGE_PX)
            except UnreadableRegionError as error:
                warn("%s", error)
                continue
            file = folder / f"{place:02d}_x{x}_y{y}.png"
            with atomic_path(file) as partial:
                Image.fromarray(picture).save(partial, format="PNG")
            written.append(file)
    return written
