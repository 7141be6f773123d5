"""Routes of heads over a grid are those of the paper."""

import itertools

import pytest

from medssm.ops.routes import heads
from medssm.ops.routes.route import require_permutations

FIRST = {  # the first order of each head over 3 x 4 cells
    "continuous": [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11],
    "diagonal": [0, 1, 4, 8, 5, 2, 3, 6, 9, 10, 7, 11],
    "spiral": [0, 1, 2, 3, 7, 11, 10, 9, 8, 4, 5, 6],
    "raster": list(range(12)),
}
OTHER = {
    "continuous": [0, 4, 8, 9, 5, 1, 2, 6, 10, 11, 7, 3],
    "diagonal": [3, 2, 7, 11, 6, 1, 0, 5, 10, 9, 4, 8],
    "spiral": [8, 9, 10, 11, 7, 3, 2, 1, 0, 4, 5, 6],
    "raster": [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11],
}


@pytest.mark.parametrize("name", FIRST)
def test_a_head_is_two_orders_each_both_ways(name):
    first, other = FIRST[name], OTHER[name]
    assert heads(3, 4, (name,)).table.tolist() == [first, first[::-1], other, other[::-1]]


def test_heads_follow_each_other():
    table = heads(3, 4, ("spiral", "raster")).table.tolist()
    assert table[::2] == [FIRST["spiral"], OTHER["spiral"], FIRST["raster"], OTHER["raster"]]


@pytest.mark.parametrize(("height", "width"), list(itertools.product((1, 2, 5, 6), repeat=2)))
def test_every_size_of_grid_has_routes(height, width):
    require_permutations(heads(height, width, tuple(FIRST)).table)


def test_an_unknown_head_is_an_error():
    with pytest.raises(ValueError, match="zigzag"):
        heads(3, 4, ("zigzag",))
