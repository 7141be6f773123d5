"""A bag of any length through MambaMIL in inference, with memory of a few numbers a tile."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssm.core.errors import BadArgumentError
from medssm.layers.mixers.streamed import STEPS, stream_layer
from medssm.networks.bags import BagNetwork, BagOutput
from medssm.networks.mamba_mil import MambaMIL

STREAMED = 20_000
"""Tiles from which on MambaMIL reads a bag chunk by chunk."""
TilesT = Any
"""What gives rows for a slice: a tensor, an array, a data set of an open HDF5 file."""


@torch.inference_mode()
def stream_bag(network: MambaMIL, tiles: TilesT, steps: int = STEPS) -> BagOutput:
    """What the network says of one bag, read chunk by chunk.

    Equal to the network on the whole bag up to rounding. Beside the features it holds the tokens
    (L, D) and the outputs of the branches (L, e), or a second (L, D) where those were too large.

    Args:
        network: In evaluation mode.
        tiles: The features of the bag; rows are read in slices.
        steps: Tiles of a chunk.

    Raises:
        BadArgumentError: No tile, another width, or a network in training.

    Shape:
        tiles: (L, C).
    """
    length = len(tiles)
    if network.training or length < 1 or tiles.shape[1] != network.in_channels:
        raise BadArgumentError(
            f"streaming takes a network in evaluation mode and a bag (L, {network.in_channels}) "
            f"of one tile or more; found {tuple(tiles.shape)} and training={network.training}."
        )
    weight = network.embed.weight
    h = weight.new_empty(length, len(weight))
    for part in _parts(length, steps):
        h[part] = network.activation(network.embed(_rows(tiles[part]).to(weight)))
    for layer in network.layers:
        stream_layer(layer.norm, layer.mixer, h, steps)  # type: ignore[arg-type]
    scores = weight.new_empty(1, 1, length)
    for part in _parts(length, steps):
        h[part] = network.norm(h[part])
        scores[..., part] = network.attention(h[None, part])
    attention = scores.softmax(-1)
    embedding = attention[0] @ h
    return BagOutput(network.classifier(embedding), attention, scores, embedding)


def _parts(length: int, steps: int) -> list[slice]:
    return [slice(start, start + steps) for start in range(0, length, steps)]


def _rows(rows: Any) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.from_numpy(np.asarray(rows))


@torch.inference_mode()
def read_rows(network: BagNetwork, rows: Tensor) -> BagOutput:
    """What a network says of one bag of any length, on the network's own device.

    Shape:
        rows: (L, C), L above 0.
    """
    rows = rows.to(next(network.parameters()).device)
    if isinstance(network, MambaMIL) and len(rows) > STREAMED:
        return stream_bag(network, rows)
    output: BagOutput = network(rows[None])
    return output
