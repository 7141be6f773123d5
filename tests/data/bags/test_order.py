"""Orders of tiles: whole permutations, each along its own line."""

import numpy as np
import pytest

from medssm.core.errors import BadArgumentError
from medssm.data.bags import ORDERS, order_of

GRID = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1).reshape(-1, 2) * 256


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_a_permutation_whatever_comes_in(order):
    shuffled = GRID[np.random.default_rng(0).permutation(64)][:50]
    assert sorted(order_of(shuffled, order)) == list(range(50))
    assert len(order_of(shuffled[:0], order)) == 0
    assert list(order_of(shuffled[:1], order)) == [0]


def test_row_goes_along_x_and_column_along_y():
    assert GRID[order_of(GRID, "row")][:3].tolist() == [[0, 0], [256, 0], [512, 0]]
    assert GRID[order_of(GRID, "column")][:3].tolist() == [[0, 0], [0, 256], [0, 512]]
    assert np.array_equal(order_of(GRID, "file"), np.arange(64))


def test_hilbert_steps_to_a_neighbour_every_time():
    steps = np.abs(np.diff(GRID[order_of(GRID, "hilbert")], axis=0)).sum(axis=1)
    assert set(steps.tolist()) == {256}


def test_an_unknown_order_is_refused():
    with pytest.raises(BadArgumentError, match="one of file, row, column, hilbert"):
        order_of(GRID, "spiral")
