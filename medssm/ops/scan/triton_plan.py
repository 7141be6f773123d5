"""How the Triton scan cuts its work: blocks of channels, chunks of the length, launches."""

import functools
import math
from dataclasses import dataclass

import torch

TILE = 8  # steps that a thread of the forward holds at a time
BACK = 4  # the same of the backward, which holds more of each; it divides TILE
SHORTEST = 128  # steps of a chunk: below, the states of chunks weigh more than the tokens
LONGEST = 1024
WAVE = 32  # programs, of one warp each, that keep a multiprocessor busy
INTERPRETED = 4  # multiprocessors where there is no device


@dataclass(frozen=True)
class Plan:
    """Sizes of a scan.

    Args:
        block: Channels of a program.
        blocks: Blocks that cover the channels.
        chunk: Steps of a chunk.
        chunks: Chunks that cover the length.
    """

    block: int
    blocks: int
    chunk: int
    chunks: int


@dataclass(frozen=True)
class Launch:
    """Routes that one launch walks: group g of it takes routes first + g and first + g + hop.

    Args:
        first: First route.
        hop: From a route to its opposite; 0 where it has none here.
        groups: Routes, or pairs of routes, side by side.
        window: Steps of a local window; 0 for the scan itself.
        adds: Whether an earlier launch has written the same outputs.
        last: Whether no later launch writes them.
    """

    first: int
    hop: int
    groups: int
    window: int
    adds: bool
    last: bool

    @property
    def per(self) -> int:
        """Routes that a program walks."""
        return 2 if self.hop else 1


@functools.cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a device."""
    if device.type != "cuda":
        return INTERPRETED
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def channel_block(channels: int) -> int:
    """Channels of a program: two a thread of a 32-wide warp where that wastes little."""
    return 64 if channels % 64 == 0 or channels % 64 > 32 else 32


def plan(tasks: int, length: int, channels: int, wanted: int) -> Plan:
    """Cut the length only where batch, routes and channels leave the device idle.

    Args:
        tasks: Sequences: batch times routes.
        length: Steps.
        channels: Channels.
        wanted: Programs that fill the device.

    Returns:
        One chunk, or chunks as long as they may be while there are enough of them.
    """
    block = channel_block(channels)
    blocks = -(-channels // block)
    if tasks * blocks >= wanted or length <= 2 * SHORTEST:
        return Plan(block, blocks, -(-length // TILE) * TILE, 1)
    chunk = LONGEST
    while chunk > SHORTEST and tasks * blocks * -(-length // chunk) < wanted:
        chunk //= 2
    return Plan(block, blocks, chunk, -(-length // chunk))


def window_plan(length: int, channels: int, window: int) -> Plan:
    """Chunks that end where windows end: each is on its own."""
    block = channel_block(channels)
    both = math.lcm(window, TILE)
    chunk = min(-(-SHORTEST // both) * both, -(-length // TILE) * TILE)
    return Plan(block, -(-channels // block), chunk, -(-length // chunk))


def span(sizes: Plan, tasks: int, wanted: int) -> int:
    """Blocks of channels that one program of the backward takes, one after the other.

    The more it takes, the fewer partial sums over channels; but programs must fill the device.
    """
    parts = min(sizes.blocks, max(1, wanted // max(1, tasks * sizes.chunks)))
    return -(-sizes.blocks // parts)


def launches(
    routes: int, pairs: tuple[tuple[int, int], ...], apart: bool, window: int
) -> list[Launch]:
    """The launches that write one output, in their order.

    Args:
        routes: Number of routes.
        pairs: Opposite routes.
        apart: Whether each route has its own output; else all add up in one.
        window: Steps of a local window; 0 for none.
    """
    if apart:
        found = [(0, 0, routes, 0)] + ([(0, 0, routes, window)] if window else [])
    else:
        single = set(range(routes)) - {route for pair in pairs for route in pair}
        found = [(first, second - first, 1, 0) for first, second in pairs]
        found += [(route, 0, 1, 0) for route in sorted(single)]
        if window:
            found += [(route, 0, 1, window) for route in range(routes)]
    ends = len(found) - 1
    return [Launch(*row, adds=i > 0, last=i == ends) for i, row in enumerate(found)]
