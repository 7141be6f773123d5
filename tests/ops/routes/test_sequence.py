"""Routes over a sequence."""

import pytest
import torch

from medssm.ops.routes import forward, interleave, padded_length, restride, reverse, there_and_back


def test_there_and_back_is_the_order_of_memory_and_its_reverse():
    assert forward(4).table.tolist() == [[0, 1, 2, 3]]
    assert reverse(4).table.tolist() == [[3, 2, 1, 0]]
    assert there_and_back(4).table.tolist() == [[0, 1, 2, 3], [3, 2, 1, 0]]


def test_interleave_visits_one_token_of_each_slice_in_turn():
    table = interleave(12, 3).table[0]
    for i in range(3):
        for j in range(4):
            assert table[j * 3 + i] == i * 4 + j


def test_interleave_needs_whole_slices():
    with pytest.raises(ValueError, match="multiple of 5"):
        interleave(12, 5)


@pytest.mark.parametrize(("length", "rate"), [(12, 3), (10, 10), (8, 1), (100, 7)])
def test_restride_of_the_padded_length_is_the_order_of_the_paper(length, rate):
    padded = padded_length(length, rate)
    rows = padded // rate
    table = restride(padded, rate).table[0]
    assert table.tolist() == [k * rate + w for w in range(rate) for k in range(rows)]


def test_restride_leaves_out_what_lies_beyond_the_end():
    assert restride(7, 3).table.tolist() == [[0, 3, 6, 1, 4, 2, 5]]
    assert restride(3, 7).table.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("length", "rate", "padded"), [(7, 3, 9), (9, 3, 9), (0, 3, 0), (2, 10, 10)]
)
def test_the_padded_length_is_the_next_multiple(length, rate, padded):
    assert padded_length(length, rate) == padded


def test_a_rate_below_one_is_an_error():
    with pytest.raises(ValueError, match="rate 0"):
        restride(3, 0)


def test_lists_are_taken_for_sizes():
    from medssm.ops.routes import axes3d

    torch.testing.assert_close(
        axes3d(2, 3, 4, [[2, 1, 0]]).table, axes3d(2, 3, 4, ((2, 1, 0),)).table
    )
