"""The convolution in plain PyTorch visits memory along routes and refuses what is none."""

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.conv import causal_conv1d
from tests.support.scans import orders


def _tensors(length=12):
    g = torch.Generator().manual_seed(0)
    x, weight = torch.randn((2, length, 3), generator=g), torch.randn((2, 3, 4), generator=g)
    return x, weight, torch.randn((2, 3), generator=g)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_route_is_a_permutation_before_and_its_inverse_after(backend):
    x, weight, bias = _tensors()
    routes = orders(2, 12)
    with prefer(backend):
        found = causal_conv1d(x, weight, bias, routes=routes)
        for k, route in enumerate(routes.long()):
            laid = causal_conv1d(x[:, route], weight[k : k + 1], bias[k : k + 1])[:, 0]
            torch.testing.assert_close(found[:, k, route], laid)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_table_that_is_no_permutation_is_an_error(backend):
    x, weight, bias = _tensors()
    routes = orders(2, 12)
    routes[1, 3] = routes[1, 4]
    with prefer(backend), pytest.raises(ValueError, match="routes"):
        causal_conv1d(x, weight, bias, routes=routes)
