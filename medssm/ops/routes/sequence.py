"""Routes over a sequence: forwards, backwards, in strides. Each table is built once."""

from typing import TypeVar

import torch
from torch import Tensor

from medssm.ops.routes.route import kept

LengthT = TypeVar("LengthT", int, Tensor)


@kept
def forward(length: int) -> Tensor:
    """The order of memory."""
    return torch.arange(length)[None]


@kept
def reverse(length: int) -> Tensor:
    """The order of memory, backwards."""
    return torch.arange(length).flip(0)[None]


@kept
def there_and_back(length: int) -> Tensor:
    """Two routes: the order of memory and its reverse.

    Source:
        Zhu et al., "Vision Mamba", 2024.
    """
    order = torch.arange(length)
    return torch.stack((order, order.flip(0)))


@kept
def interleave(length: int, slices: int) -> Tensor:
    """Visit position i * (length / slices) + j at step j * slices + i: one token of each slice.

    Raises:
        ValueError: The length is not a multiple of the number of slices.

    Source:
        Xing et al., "SegMamba", 2024, inter-slice direction.
    """
    if slices < 1 or length % slices:
        raise ValueError(f"length {length} is not a multiple of {slices} slices.")
    return torch.arange(length).view(slices, length // slices).t().reshape(1, length)


@kept
def restride(length: int, rate: int) -> Tensor:
    """Visit 0, rate, 2 rate, ..., then 1, rate + 1, ...: the order of sequence reordering.

    SR-Mamba pads a sequence with zeros to `padded_length` first, and its padding takes part in
    the scan: pad the tokens, ask for the routes of that length and drop the last outputs. Where
    the length is no multiple of the rate, the steps beyond its end are left out instead.

    Raises:
        ValueError: The rate is below 1.

    Source:
        Yang et al., "MambaMIL", 2024, SR-Mamba.
    """
    if rate < 1:
        raise ValueError(f"rate {rate} is below 1.")
    return torch.cat([torch.arange(length)[start::rate] for start in range(rate)])[None]


def padded_length(length: LengthT, rate: int) -> LengthT:
    """The smallest multiple of the rate that holds the sequence, or each of several."""
    return -(-length // rate) * rate
