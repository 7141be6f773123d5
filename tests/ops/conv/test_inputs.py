"""The arguments of a causal convolution are checked in words."""

import pytest
import torch

from medssm.ops.conv.inputs import ConvInputs, check


def _call(x=None, weight=None, bias=None, table=None):
    x = torch.zeros(2, 9, 5) if x is None else x
    return ConvInputs(x, torch.zeros(1, 5, 4) if weight is None else weight, bias, table, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x": torch.zeros(9, 5)}, "x must be floating"),
        ({"x": torch.zeros(2, 9, 5, dtype=torch.int32)}, "x must be floating"),
        ({"weight": torch.zeros(1, 6, 4)}, "5 channels"),
        ({"bias": torch.zeros(1, 6)}, "bias has shape"),
        ({"table": torch.zeros(2, 9)}, "routes has shape"),
        ({"bias": torch.zeros(1, 5, device="meta")}, "bias is on meta"),
    ],
)
def test_what_does_not_fit_is_an_error_with_the_name(changes, said):
    with pytest.raises(ValueError, match=said):
        check(_call(**changes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_weights_are_as_wide_as_the_arithmetic(dtype):
    call = check(_call(x=torch.zeros(2, 9, 5, dtype=dtype), bias=torch.zeros(1, 5, dtype=dtype)))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert (call.x.dtype, call.weight.dtype, call.bias.dtype) == (dtype, wide, wide)


def test_a_table_becomes_dense_integers_of_32_bits():
    table = check(_call(table=torch.arange(18).view(1, 18)[:, ::2])).table
    assert (table.dtype, table.is_contiguous()) == (torch.int32, True)
