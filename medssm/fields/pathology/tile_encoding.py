"""Tiles of a slide to features: read ahead in threads, failed tiles left out and counted."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch

from medssm.core.errors import BadDataError
from medssm.data.slides import Slide, UnreadableRegionError, read_tile
from medssm.fields.pathology.encoders import PatchEncoder
from medssm.fields.pathology.tiling import Tiling

# batches that are read while one is encoded
_AHEAD = 2


@dataclass(frozen=True)
class Encoded:
    """What became of the tiles of a slide.

    Args:
        features: Of the tiles that could be read, float32.
        coords: Where those lie.
        failed: Where the others lie.

    Shape:
        features: (N, D); coords: (N, 2); failed: (F, 2).
    """

    features: np.ndarray
    coords: np.ndarray
    failed: np.ndarray


def encode_tiles(
    slide: Slide, tiling: Tiling, encoder: PatchEncoder, batch_size: int = 32, readers: int = 2
) -> Encoded:
    """Encode the tiles of a slide; a tile that cannot be decoded is left out, never painted white.

    Args:
        slide: The slide.
        tiling: Its tiles.
        encoder: Pictures to features.
        batch_size: Tiles at once.
        readers: Threads that read; each opens the slide for itself.

    Raises:
        BadDataError: The encoder gives numbers that are not finite.
    """
    features, kept = [], []
    for indices, tiles in _batches(slide, tiling, batch_size, readers):
        if len(indices):
            features.append(encoder(torch.from_numpy(tiles)).cpu().numpy())
            kept.append(indices)
    if not kept:
        width = _width(encoder, tiling.size_px)
        nothing = tiling.coords[:0]
        return Encoded(np.zeros((0, width), np.float32), nothing, tiling.coords)
    found, rows = np.concatenate(kept), np.concatenate(features)
    if not np.isfinite(rows).all():
        raise BadDataError(
            f"{slide.path}: the encoder {encoder.facts.get('encoder')!r} gives NaN or Inf for "
            f"{int((~np.isfinite(rows)).any(axis=1).sum())} tiles. Check its weights."
        )
    failed = np.ones(len(tiling.coords), dtype=bool)
    failed[found] = False
    return Encoded(rows, tiling.coords[found], tiling.coords[failed])


def _width(encoder: PatchEncoder, size_px: int) -> int:
    """Numbers a tile, asked of the encoder itself."""
    blank = torch.zeros((1, size_px, size_px, 3), dtype=torch.uint8)
    return int(encoder(blank).shape[1])


def _batches(
    slide: Slide, tiling: Tiling, batch_size: int, readers: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of the tiles that could be read and their pixels, in the order of the tiling."""
    everything = np.arange(len(tiling.coords))
    parts = [everything[at : at + batch_size] for at in range(0, len(everything), batch_size)]
    handles: SimpleQueue[Slide] = SimpleQueue()
    opened = [slide.another() for _ in range(max(1, readers))]
    for each in opened:
        handles.put(each)

    def work(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        handle = handles.get()
        try:
            return _read(handle, tiling, indices)
        finally:
            handles.put(handle)

    waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
    with ThreadPoolExecutor(len(opened), thread_name_prefix="tiles") as pool:
        try:
            for part in parts:
                waiting.append(pool.submit(work, part))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            pool.shutdown(wait=True)
            for each in opened:
                each.close()


def _read(slide: Slide, tiling: Tiling, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept, tiles = [], []
    for index in indices:
        x, y = (float(each) for each in tiling.coords[index])
        try:
            tiles.append(read_tile(slide, (x, y), tiling.size_level0, tiling.size_px))
        except UnreadableRegionError:
            continue
        kept.append(index)
    shape = (0, tiling.size_px, tiling.size_px, 3)
    return np.array(kept, dtype=np.int64), np.stack(tiles) if tiles else np.zeros(shape, np.uint8)
