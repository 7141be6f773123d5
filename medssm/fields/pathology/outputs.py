"""What a prediction leaves of a bag: attention of every tile, heatmap, QuPath, top tiles."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.data.bags import Bag
from medssm.fields.pathology.bag_answer import BagAnswer
from medssm.fields.pathology.store import Tiles


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Args:
        heatmaps: The attention over the slide, and for QuPath.
        top_tiles: Most attended tiles.
        slides: Slides that are at hand.
    """

    heatmaps: bool = True
    top_tiles: int = 10
    slides: Mapping[str, Path] = field(default_factory=dict)


def write_outputs(folder: Path, tiles: Tiles, answer: BagAnswer, drawing: Drawing) -> list[Path]:
    """Write everything of a bag; files without places of tiles have no pictures.

    Returns:
        The files.
    """
    attention = tiles.in_file_order(answer.attention)
    # one row a class: that of the class that was said
    row = 0 if len(attention) == 1 else int(answer.probabilities.argmax())
    written, start = [], 0
    for part in tiles.parts:
        share = attention[:, start : start + len(part)]
        start += len(part)
        written.append(write_attention(folder / "attention" / f"{part.name}.h5", part, share))
        if part.coords is None or not len(part):
            continue
        if drawing.top_tiles:
            file = folder / "top_tiles" / f"{part.name}.csv"
            written.append(_write_top(file, part, share[row], drawing.top_tiles))
        written += _draw(folder, part, share[row], drawing)
    return written


def write_attention(file: Path, bag: Bag, attention: np.ndarray) -> Path:
    """Write `attention` (rows, N) and `coords` (N, 2) in the order of the feature file."""
    from medssm.data.bags.write import stored_attribute

    h5py: Any = require("h5py", "pathology")
    with atomic_path(file) as partial, h5py.File(partial, "w") as content:
        content.create_dataset("attention", data=np.asarray(attention, np.float32))
        if bag.coords is not None:
            content.create_dataset("coords", data=bag.coords)
        content.attrs["source"] = str(bag.source)
        for key, value in bag.facts.items():
            content.attrs[key] = stored_attribute(value)
    return file


def _write_top(file: Path, bag: Bag, share: np.ndarray, count: int) -> Path:
    assert bag.coords is not None
    order = np.argsort(-share, kind="stable")[:count]
    with atomic_path(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("rank", "tile", "x", "y", "share"))
        for rank, tile in enumerate(order, 1):
            writer.writerow((rank, tile, *bag.coords[tile], f"{share[tile]:.6g}"))
    return file


def _draw(folder: Path, bag: Bag, share: np.ndarray, drawing: Drawing) -> Sequence[Path]:
    if not drawing.heatmaps:
        return []
    from medssm.fields.pathology.heatmap import TileMap, write_heatmap
    from medssm.fields.pathology.qupath import write_geojson
    from medssm.fields.pathology.top_tiles import write_top_tiles

    tiles = TileMap.of_bag(bag)
    slide = drawing.slides.get(bag.name)
    written = [
        write_heatmap(folder / "heatmaps" / f"{bag.name}.png", tiles, share, slide),
        write_geojson(folder / "qupath" / f"{bag.name}.geojson", tiles, share),
    ]
    if slide is not None and drawing.top_tiles:
        target = folder / "top_tiles" / bag.name
        written += write_top_tiles(target, tiles, share, slide, drawing.top_tiles)
    return written
