"""The floor is a rate of this CPU, and the work of a scan at it."""

import pytest

from benchmarks import floor


def test_an_exponential_costs_more_than_a_multiply_add_and_less_than_forty():
    found = floor.rates()
    if found is None:
        pytest.skip("needs a compiler")
    assert 0 < found["multiply_add_ns"] < found["exp2_ns"] < 40 * found["multiply_add_ns"]


def test_the_backward_is_counted_on_top_of_the_forward():
    rates = {"multiply_add_ns": 0.25, "exp2_ns": 1.5}
    forward = floor.floor_ms(1_000_000, 16, "forward", rates)
    both = floor.floor_ms(1_000_000, 16, "forward+backward", rates)
    assert both / forward == pytest.approx((2 * 1.5 + 17 * 0.25) / (1.5 + 4 * 0.25))
