"""Tiles with their scores as GeoJSON, which QuPath opens over the slide."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from medssm.core.files import write_text
from medssm.fields.pathology.heatmap import TileMap, checked_scores, percentiles


def write_geojson(
    output: Path,
    tiles: TileMap,
    scores: np.ndarray,
    name: str = "attention",
    colours: str = "coolwarm",
) -> Path:
    """Write one square a tile, coloured by rank, the score as a measurement.

    Args:
        output: The .geojson file. In QuPath: drag it onto the open slide.
        tiles: Where the tiles lie; coordinates count from the scanned part, as in QuPath.
        scores: One a tile.
        name: Of the measurement.
        colours: A colour map of matplotlib.

    Raises:
        BadArgumentError: Not one finite score a tile.
    """
    scores = checked_scores(tiles, scores)
    ranks = percentiles(scores)
    features = [
        _square(corner - np.array(tiles.origin), tiles.tile_px_level0, {name: score, "rank": rank},
                _colour(colours, rank), name)
        for corner, score, rank in zip(tiles.coords, scores, ranks, strict=True)
    ]  # fmt: skip
    content = {"type": "FeatureCollection", "features": features}
    # a slide has a hundred thousand tiles: no white space between them
    write_text(output, json.dumps(content, separators=(",", ":")) + "\n")
    return output


def _square(
    corner: np.ndarray, size: float, measured: dict[str, float], colour: list[int], name: str
) -> dict[str, Any]:
    (x, y), far = (float(each) for each in corner), corner + size
    right, bottom = float(far[0]), float(far[1])
    ring = [[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "objectType": "tile",
            "classification": {"name": name, "color": colour},
            "color": colour,
            "measurements": {key: round(float(value), 8) for key, value in measured.items()},
        },
    }


def _colour(colours: str, rank: float) -> list[int]:
    return [round(255 * float(each)) for each in colormaps[colours](float(rank))[:3]]
