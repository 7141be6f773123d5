"""Routes over a sequence: forwards, backwards, in strides. Each table is built once."""

import functools

import torch

from medssm.ops.routes.route import Routes


@functools.lru_cache(maxsize=64)
def forward(length: int) -> Routes:
    """The order of memory."""
    return Routes(torch.arange(length)[None])


@functools.lru_cache(maxsize=64)
def reverse(length: int) -> Routes:
    """The order of memory, backwards."""
    return Routes(torch.arange(length - 1, -1, -1)[None])


@functools.lru_cache(maxsize=64)
def there_and_back(length: int) -> Routes:
    """Two routes: the order of memory and its reverse.

    Source:
        Zhu et al., "Vision Mamba", 2024.
    """
    return forward(length) + reverse(length)


@functools.lru_cache(maxsize=64)
def interleave(length: int, slices: int) -> Routes:
    """Visit position i * (length / slices) + j at step j * slices + i: one token of each slice.

    Raises:
        ValueError: The length is not a multiple of the number of slices.

    Source:
        Xing et al., "SegMamba", 2024, inter-slice direction.
    """
    if slices < 1 or length % slices:
        raise ValueError(f"length {length} is not a multiple of {slices} slices.")
    return Routes(torch.arange(length).view(slices, length // slices).t().reshape(1, -1))


@functools.lru_cache(maxsize=64)
def restride(length: int, rate: int) -> Routes:
    """Visit 0, rate, 2 rate, ..., then 1, rate + 1, ...: the order of sequence reordering.

    Where the length is no multiple of the rate, the steps beyond the end are left out.

    Raises:
        ValueError: The rate is below 1.

    Source:
        Yang et al., "MambaMIL", 2024, SR-Mamba.
    """
    if rate < 1:
        raise ValueError(f"rate {rate} is below 1.")
    return Routes(torch.cat([torch.arange(start, length, rate) for start in range(rate)])[None])
