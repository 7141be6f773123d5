"""The arguments of a scan are checked in words and brought to the types that backends expect."""

import pytest
import torch

from medssm.ops.scan import selective_scan
from medssm.ops.scan.inputs import ScanInputs, check
from tests.support.scans import orders, scan_tensors


def _call(**changes):
    tensors = scan_tensors(dtype=torch.float32) | changes
    names = ("u", "delta", "A", "B", "C", "D", "delta_bias", "delta_weight")
    parts = [tensors.get(name) for name in (*names, "routes", "z", "initial_state")]
    return ScanInputs(*parts, True, True, lengths=tensors.get("lengths"))


@pytest.mark.parametrize(
    "name", ["u", "delta", "A", "B", "C", "D", "delta_bias", "z", "initial_state"]
)
def test_a_shape_that_does_not_fit_is_an_error_with_the_name(name):
    tensors = scan_tensors()
    tensors[name] = torch.cat((tensors[name], tensors[name][..., :1]), -1)
    expected = "has shape" if name != "u" else "delta has shape"
    with pytest.raises(ValueError, match=expected):
        selective_scan(**tensors)


def test_another_device_is_an_error_with_the_name():
    with pytest.raises(ValueError, match="B is on meta"):
        check(_call(B=torch.empty(2, 2, 9, 4, device="meta")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"u": torch.zeros(2, 5)}, "u must be floating"),
        ({"u": torch.zeros(2, 9, 5, dtype=torch.int64)}, "u must be floating"),
        ({"A": torch.zeros(5, 4)}, "A must have the axes"),
    ],
)
def test_axes_and_types_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        check(_call(**changes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_half_stream_stays_and_parameters_are_single(dtype):
    parameters = {n: scan_tensors()[n].to(dtype) for n in ("A", "D", "delta_bias", "initial_state")}
    half = {n: scan_tensors()[n].to(dtype) for n in ("delta", "B", "C", "z")}
    call = check(_call(**half, **parameters))
    assert {x.dtype for x in (call.delta, call.B, call.C, call.z)} == {dtype}
    wide = (call.A, call.D, call.delta_bias, call.initial_state)
    assert {x.dtype for x in wide} == {torch.float32}


def test_everything_is_double_beside_a_double_u():
    call = check(_call(u=scan_tensors()["u"]))
    found = (call.delta, call.A, call.B, call.C, call.D, call.delta_bias, call.z)
    assert {x.dtype for x in found} == {torch.float64}


def test_a_double_stream_beside_a_single_u_becomes_single():
    assert check(_call(B=scan_tensors()["B"])).B.dtype == torch.float32


def test_tables_become_dense_integers_of_32_bits():
    call = check(_call(routes=orders(2, 18)[:, ::2], lengths=torch.tensor([3, 4])))
    assert call.table.is_contiguous()
    assert (call.table.dtype, call.lengths.dtype) == (torch.int32, torch.int32)


def test_an_unknown_merge_is_an_error():
    with pytest.raises(ValueError, match="merge is 'mean'"):
        selective_scan(**scan_tensors(), merge="mean")
