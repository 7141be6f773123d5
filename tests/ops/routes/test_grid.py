"""Routes over a grid are the orders of explicit flips and permutations."""

import pytest
import torch

from medssm.ops.routes import axes3d, cross2d, windows


def test_cross2d_is_rows_columns_and_both_backwards():
    x = torch.randn(3, 5)
    flat, columns = x.flatten(), x.t().flatten()
    wanted = torch.stack((flat, columns, flat.flip(0), columns.flip(0)))
    assert torch.equal(flat[cross2d(3, 5).table.long()], wanted)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_axes3d_is_an_explicit_permutation(order):
    x = torch.randn(2, 3, 4)
    routes = axes3d(2, 3, 4, (order,))
    wanted = x.permute(order).flatten()
    assert torch.equal(x.flatten()[routes.table.long()], torch.stack((wanted, wanted.flip(0))))
    assert len(axes3d(2, 3, 4, (order,), both_ways=False)) == 1


def test_an_order_that_names_an_axis_twice_is_an_error():
    with pytest.raises(ValueError, match="no permutation"):
        axes3d(2, 3, 4, ((0, 0, 1),))


def test_windows_are_visited_one_after_the_other():
    assert windows((3, 4), (2, 2)).table.tolist() == [[0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 10, 11]]


@pytest.mark.parametrize(
    ("sizes", "window"), [((7,), (3,)), ((5, 6), (2, 9)), ((3, 4, 5), (2, 2, 2))]
)
def test_a_window_is_left_when_all_its_cells_are_seen(sizes, window):
    x = torch.arange(torch.Size(sizes).numel()).view(sizes)
    coordinates = torch.stack(torch.meshgrid(*map(torch.arange, sizes), indexing="ij"), -1)
    tile = (coordinates // torch.tensor(window)).view(-1, len(sizes))
    order = windows(sizes, window).table[0].long()
    walked = [tuple(row) for row in tile[order].tolist()]
    assert walked == sorted(walked)
    assert sorted(order.tolist()) == x.flatten().tolist()


def test_a_window_of_another_rank_is_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        windows((3, 4), (2, 2, 2))
