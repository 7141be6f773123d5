"""Routes: made once, kept with numbers, checked."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from medssm.ops.routes import (
    Routes,
    axes3d,
    cross2d,
    forward,
    from_permutation,
    heads,
    interleave,
    restride,
    reverse,
    there_and_back,
    windows,
)
from medssm.ops.routes.route import require_permutations
from medssm.ops.scan import selective_scan
from tests.support.scans import scan_tensors


def test_routes_of_the_same_sizes_are_made_once():
    assert cross2d(3, 5) is cross2d(3, 5)
    assert cross2d(3, 5).table_on(torch.device("cpu")) is cross2d(3, 5).table_on(
        torch.device("cpu")
    )


def test_routes_made_under_fake_tensors_have_numbers_afterwards():
    with FakeTensorMode():
        routes = reverse(1009)
        assert isinstance(routes.table_on(torch.device("cpu")), FakeTensor)
    table = reverse(1009).table_on(torch.device("cpu"))
    assert type(table) is torch.Tensor
    assert table[0, 0] == 1008


MAKERS = {  # sizes that no other test asks for
    "forward": lambda: forward(1021),
    "reverse": lambda: reverse(1021),
    "there_and_back": lambda: there_and_back(1021),
    "interleave": lambda: interleave(1030, 10),
    "restride": lambda: restride(1021, 7),
    "cross2d": lambda: cross2d(23, 7),
    "axes3d": lambda: axes3d(5, 11, 3),
    "windows": lambda: windows((23, 7), (3, 2)),
    "heads": lambda: heads(11, 7, ("continuous", "diagonal", "spiral", "raster")),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_first_call_while_compiling_leaves_numbers_for_the_next(name):
    torch._dynamo.reset()
    cpu = torch.device("cpu")
    compiled = torch.compile(
        lambda x: x + MAKERS[name]().table_on(x.device), fullgraph=True, backend="aot_eager"
    )
    traced = compiled(torch.zeros(1, dtype=torch.int32))
    with FakeTensorMode():
        assert isinstance(MAKERS[name]().table_on(cpu), FakeTensor)
    table = MAKERS[name]().table_on(cpu)
    assert (type(table), table.dtype) == (torch.Tensor, torch.int32)
    require_permutations(table)
    assert torch.equal(traced, table)


def test_routes_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        routes = there_and_back(1013)
        routes.table_on(torch.device("cpu"))
    tensors = scan_tensors(length=1013, d=2, n=1)
    selective_scan(tensors.pop("u").requires_grad_(), **tensors, routes=routes).sum().backward()


def test_routes_made_under_another_default_device_lie_on_the_cpu():
    with torch.device("meta"):
        routes = reverse(1019)
    assert routes.table.device.type == "cpu"


def test_a_table_is_copied_to_a_device_once():
    meta = torch.device("meta")
    assert cross2d(3, 5).table_on(meta) is cross2d(3, 5).table_on(meta)
    assert cross2d(3, 5).table_on(meta).device == meta


def test_both_ways_adds_the_reverse_of_each():
    routes = from_permutation(torch.tensor([[2, 0, 1], [0, 1, 2]])).both_ways()
    assert routes.table.tolist() == [[2, 0, 1], [0, 1, 2], [1, 0, 2], [2, 1, 0]]
    assert len(routes.reversed() + routes) == 8


@pytest.mark.parametrize("order", [[0, 0, 1], [1, 2, 3], [-1, 0, 1]])
def test_an_order_that_is_no_permutation_is_an_error(order):
    with pytest.raises(ValueError, match="row 0"):
        from_permutation(torch.tensor(order))


def test_a_table_without_routes_is_an_error():
    with pytest.raises(ValueError, match="axes"):
        Routes(torch.arange(3))
