"""Routes for mixers: the axes of a grid of any rank, as tables that compilers hold constant."""

import functools
import operator
from collections.abc import Callable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from medssm.ops.routes import Routes, axes3d, cross2d, forward, from_permutation, there_and_back

Order = Callable[..., Tensor]


def constant_route(make: Callable[..., Routes]) -> Order:
    """Turn a maker of routes into a function of a tensor and integers that tracing can pass.

    The table depends on sizes only, so a compiled or exported graph holds it as a constant;
    another size is another graph.

    Args:
        make: From integers to routes; it keeps what it made, as those of `medssm.ops.routes` do.

    Returns:
        ``order(x, *numbers)``: the table (K, L) on the device of x.
    """

    @torch.compiler.assume_constant_result
    def table(device: torch.device, *numbers: int) -> Tensor:
        with unset_fake_temporarily():  # the table outlives the tracing: it must hold numbers
            return make(*numbers).table_on(device)

    def order(x: Tensor, *numbers: int) -> Tensor:
        # index, where int would leave the size of a traced tensor symbolic
        made: Tensor = table(x.device, *(operator.index(each) for each in numbers))
        return made

    return order


@functools.lru_cache(maxsize=64)
def axis_routes(*size: int) -> Routes:
    """Along every axis in turn, the last axis of the grid first; then all of them backwards.

    Two routes over a sequence, four over an image, six over a volume.

    Args:
        size: One to three sizes.
    """
    makers: dict[int, Callable[..., Routes]] = {1: there_and_back, 2: cross2d, 3: axes3d}
    return makers[len(size)](*size)


@functools.lru_cache(maxsize=256)
def axis_route(index: int, *size: int) -> Routes:
    """One of `axis_routes`: 0 forwards along the last axis, 1 backwards, 2 along the next, ...

    Args:
        index: Which; it starts again after the last.
        size: One to three sizes.
    """
    table = axis_routes(*size).table
    axis, backwards = divmod(index % len(table), 2)
    return from_permutation(table[axis + backwards * (len(table) // 2)])


in_memory_order = constant_route(forward)
both_ways = constant_route(there_and_back)
along_axes = constant_route(axis_routes)
along_axis = constant_route(axis_route)
