import pytest
import torch

from medssm.layers.mixers.orders import axis_route, axis_routes


@pytest.mark.parametrize("size", [(5,), (3, 4), (2, 3, 4)])
def test_every_axis_runs_fastest_once_each_way(size):
    table = axis_routes(*size).table.long()
    rank = len(size)
    assert table.shape == (2 * rank, torch.tensor(size).prod())
    strides = torch.empty(size).stride()
    for index in range(rank):
        assert int(table[index, 1] - table[index, 0]) == strides[rank - 1 - index]
        assert torch.equal(table[rank + index], table[index].flip(0))


def test_one_route_alternates_and_starts_again():
    every = axis_routes(2, 3).table
    rows = [axis_route(index, 2, 3).table[0] for index in range(5)]
    for route, wanted in zip(rows, (0, 2, 1, 3, 0), strict=True):
        assert torch.equal(route, every[wanted])
