"""Single steps of the scan are the scan."""

import pytest
import torch

from medssm.ops.scan import selective_scan
from medssm.ops.scan.step import selective_scan_step
from tests.support.scans import scan_tensors


def _steps(tensors, **options):
    one = {name: x[:, 0] if name in ("delta", "B", "C") else x for name, x in tensors.items()}
    state, rows = tensors["initial_state"][:, 0], []
    for t in range(one["u"].shape[1]):
        step = {name: one[name][:, t] for name in ("u", "delta", "B", "C", "z")}
        parameters = {name: tensors[name][0] for name in ("A", "D", "delta_bias")}
        y, state = selective_scan_step(state, **step, **parameters, **options)
        rows.append(y)
    return torch.stack(rows, 1), state


@pytest.mark.parametrize("softplus", [True, False])
def test_steps_give_the_outputs_and_the_state_of_the_scan(softplus):
    tensors = scan_tensors(k=1, length=20)
    y, state = _steps(tensors, delta_softplus=softplus)
    whole, last = selective_scan(**tensors, delta_softplus=softplus, return_last_state=True)
    torch.testing.assert_close(y, whole)
    torch.testing.assert_close(state, last[:, 0])


def test_steps_of_a_half_type_keep_a_wide_state():
    tensors = scan_tensors(k=1, length=20, dtype=torch.float32)
    half = {n: tensors[n].bfloat16() for n in ("u", "delta", "B", "C", "z")}
    y, state = _steps(tensors | half)
    whole, last = selective_scan(**(tensors | half), return_last_state=True)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(state, last[:, 0])
    torch.testing.assert_close(y, whole, atol=0.02, rtol=0.02)


def test_a_stream_may_be_joined_to_a_scan():
    tensors = scan_tensors(k=1, length=20)
    along = ("u", "delta", "B", "C", "z")
    start = {n: x.narrow(x.dim() - 2, 0, 12) if n in along else x for n, x in tensors.items()}
    rest = {n: x.narrow(x.dim() - 2, 12, 8) if n in along else x for n, x in tensors.items()}
    _, state = selective_scan(**start, return_last_state=True)
    y, _ = _steps(rest | {"initial_state": state})
    torch.testing.assert_close(y, selective_scan(**tensors)[:, 12:])


def test_a_state_of_another_size_is_an_error():
    tensors = scan_tensors(k=1)
    with pytest.raises(ValueError, match="state has shape"):
        _steps(tensors | {"initial_state": torch.zeros(2, 1, 5, 7)})
