"""The reference scan: lengths and local windows are what their definitions say."""

import pytest
import torch

from medssm.ops.backends import prefer
from medssm.ops.scan import selective_scan
from tests.support.scans import orders, scan_tensors


def _scan(tensors, **options):
    with prefer("reference"):
        return selective_scan(**tensors, **options, return_last_state=True)


def _cut(tensors, i, length):
    along = {"u": 1, "delta": 2, "B": 2, "C": 2, "z": 1}
    small = {n: t[i : i + 1] if n in {*along, "initial_state"} else t for n, t in tensors.items()}
    return {n: t.narrow(along[n], 0, length) if n in along else t for n, t in small.items()}


@pytest.mark.parametrize("lengths", [(9, 4), (1, 0), (9, 9)])
def test_lengths_give_what_each_element_gives_alone(lengths):
    tensors = scan_tensors()
    out, last = _scan(tensors, lengths=torch.tensor(lengths))
    for i, length in enumerate(lengths):
        alone, state = _scan(_cut(tensors, i, length))
        assert torch.allclose(out[i, :length], alone[0])
        assert torch.allclose(last[i], state[0])
        assert (out[i, length:] == 0).all()


def test_lengths_count_the_steps_of_a_route():
    tensors, routes = scan_tensors(k=1), orders(1, 9)
    out, _ = _scan(tensors, routes=routes, lengths=torch.tensor([4, 9]))
    assert (out[0, routes[0, 4:].long()] == 0).all()
    assert (out[0, routes[0, :4].long()] != 0).all()


def test_what_lies_beyond_a_length_may_be_no_number():
    tensors = scan_tensors()
    clean, _ = _scan(tensors, lengths=torch.tensor([9, 4]))
    for name in ("u", "delta", "B", "C"):
        tensors[name][1, ..., 4:, :] = torch.nan
    dirty, _ = _scan(tensors, lengths=torch.tensor([9, 4]))
    assert torch.equal(clean, dirty)


@pytest.mark.parametrize("window", [1, 2, 4, 9, 16])
def test_a_local_window_adds_the_later_steps_of_the_window(window):
    tensors = {n: t for n, t in scan_tensors(k=1).items() if n != "z"}
    plain, last = _scan(tensors)
    local, state = _scan(tensors, local_window=window)
    s = torch.nn.functional.softplus(tensors["delta"][:, 0] + tensors["delta_bias"][0])
    u, B, C = tensors["u"], tensors["B"][:, 0], tensors["C"][:, 0]
    added = torch.zeros_like(plain)
    for t in range(9):
        for later in range(t + 1, min(9, (t // window + 1) * window)):
            decay = torch.exp(s[:, t:later].sum(1)[..., None] * tensors["A"][0])
            seen = decay * (s[:, later] * u[:, later])[..., None] * B[:, later, None]
            added[:, t] += (seen * C[:, t, None]).sum(-1)
    assert torch.allclose(local, plain + added)
    assert torch.equal(state, last)


def test_a_local_window_ends_with_the_length():
    tensors = scan_tensors()
    lengths = torch.tensor([6, 9])
    out, _ = _scan(tensors, lengths=lengths, local_window=4)
    alone, _ = _scan(_cut(tensors, 0, 6), local_window=4)
    assert torch.allclose(out[0, :6], alone[0])


def test_a_negative_window_is_an_error():
    with pytest.raises(ValueError, match="local_window"):
        selective_scan(**scan_tensors(), local_window=-1)


def test_lengths_of_another_batch_are_an_error():
    with pytest.raises(ValueError, match="lengths"):
        selective_scan(**scan_tensors(), lengths=torch.tensor([1, 2, 3]))


@pytest.mark.parametrize("backend", ["cpu", "chunked", "reference"])
def test_a_table_that_is_no_permutation_is_an_error(backend):
    routes = orders(2, 9)
    routes[1, 3] = routes[1, 4]
    with prefer(backend), pytest.raises(ValueError, match="routes"):
        selective_scan(**scan_tensors(), routes=routes)
