"""How the Triton scan cuts its work."""

import math

import pytest
import torch

from medssm.ops.scan.triton_plan import SHORTEST, launches, plan, span, window_plan
from medssm.ops.scan.triton_routes import inspect, inverse
from tests.support.scans import orders

BIG = 132 * 32


def test_a_busy_device_keeps_the_length_whole():
    assert plan(tasks=4000, length=3136, channels=192, wanted=BIG).chunks == 1


def test_a_short_sequence_stays_whole():
    assert plan(tasks=1, length=2 * SHORTEST, channels=64, wanted=BIG).chunks == 1


def test_an_idle_device_gets_enough_programs():
    sizes = plan(tasks=2, length=64**3, channels=96, wanted=BIG)
    assert 2 * sizes.blocks * sizes.chunks >= BIG
    assert sizes.chunk * sizes.chunks >= 64**3


@pytest.mark.parametrize("channels", [1, 32, 33, 64, 96, 100, 384])
def test_blocks_cover_the_channels(channels):
    sizes = plan(tasks=1, length=1000, channels=channels, wanted=BIG)
    assert sizes.block * (sizes.blocks - 1) < channels <= sizes.block * sizes.blocks


@pytest.mark.parametrize("window", [1, 3, 5, 8, 300])
def test_chunks_of_windows_end_where_windows_end(window):
    sizes = window_plan(length=1000, channels=8, window=window)
    assert sizes.chunks == 1 or sizes.chunk % window == 0
    assert sizes.chunk * sizes.chunks >= 1000


def test_partial_sums_over_channels_are_few():
    sizes = plan(tasks=64, length=1000, channels=768, wanted=BIG)
    parts = math.ceil(sizes.blocks / span(sizes, 64, BIG))
    assert parts * 64 * sizes.chunks <= max(BIG, 64 * sizes.chunks)


def test_opposite_routes_are_found_and_share_a_launch():
    first, second = orders(2, 20)
    table = torch.stack((first, second, first.flip(0), second.flip(0)))
    pairs = inspect(table).pairs
    assert pairs == ((0, 2), (1, 3))
    assert [launch.per for launch in launches(4, pairs, apart=False, window=0)] == [2, 2]


def test_a_changed_table_is_looked_at_again():
    table = torch.stack((torch.arange(5), torch.arange(5).flip(0))).int()
    assert inspect(table).pairs == ((0, 1),)
    table[1] = table[0]
    assert inspect(table).pairs == ()


def test_the_inverse_leads_back():
    table = orders(2, 30)
    back = inverse(table).long()
    assert torch.equal(table.gather(1, back), torch.arange(30).expand(2, -1).int())


def test_launches_that_add_up_open_once_and_close_once():
    rows = launches(3, ((0, 2),), apart=False, window=4)
    assert [row.adds for row in rows] == [False] + [True] * (len(rows) - 1)
    assert [row.last for row in rows] == [False] * (len(rows) - 1) + [True]
    assert sum(row.per * row.groups for row in rows if not row.window) == 3
