"""The drop-in for causal_conv1d_fn is a padded depthwise convolution with all its options."""

import pytest
import torch
import torch.nn.functional as F

from medssm.ops import causal_conv1d_fn

TOLERANCES = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def _tensors(length=37, channels=9, taps=4, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    x = torch.randn((2, channels, length), generator=g).to(dtype)
    weight = torch.randn((channels, taps), generator=g).to(dtype)
    return x, weight, torch.randn(channels, generator=g).to(dtype)


def _truth(x, weight, bias, activation, past=None):
    x, weight = x.double(), weight.double()
    before = x.new_zeros((*x.shape[:2], weight.shape[1] - 1)) if past is None else past.double()
    bias = None if bias is None else bias.double()
    y = F.conv1d(torch.cat((before, x), 2), weight[:, None], bias, groups=len(weight))
    return F.silu(y) if activation else y


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("activation", [None, "silu", "swish"])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("taps", [2, 3, 4, 6])
@pytest.mark.parametrize("length", [1, 2, 37, 300])
def test_values_and_gradients_are_those_of_a_padded_convolution(
    length, taps, has_bias, activation, dtype
):
    x, weight, bias = _tensors(length, taps=taps, dtype=dtype)
    leaves = [t.requires_grad_() for t in (x, weight, bias)[: 2 + has_bias]]
    out = causal_conv1d_fn(*leaves, activation=activation)
    true = _truth(x, weight, bias if has_bias else None, activation)
    assert out.dtype == dtype
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(out.double(), true, atol=tolerance, rtol=tolerance)
    ours = torch.autograd.grad(out.sum(), leaves)
    theirs = torch.autograd.grad(true.sum(), leaves)
    for mine, other in zip(ours, theirs, strict=True):
        scale = max(1.0, float(other.abs().max()))
        assert float((mine - other).abs().max()) <= tolerance * scale


def test_states_join_two_halves_of_a_sequence():
    x, weight, bias = _tensors()
    whole = causal_conv1d_fn(x, weight, bias, activation="silu")
    first, state = causal_conv1d_fn(
        x[..., :20], weight, bias, return_final_states=True, activation="silu"
    )
    second = causal_conv1d_fn(x[..., 20:], weight, bias, initial_states=state, activation="silu")
    torch.testing.assert_close(torch.cat((first, second), 2), whole)
    assert torch.equal(state, x[..., 17:20])


def test_the_final_states_of_a_short_sequence_begin_with_zeros():
    x, weight, bias = _tensors(length=2)
    room = torch.empty(2, 9, 3)
    _, state = causal_conv1d_fn(x, weight, bias, return_final_states=True, final_states_out=room)
    assert state is room
    assert torch.equal(room, F.pad(x, (1, 0)))


def test_initial_states_have_gradients():
    x, weight, bias = _tensors()
    past = torch.randn(2, 9, 3).requires_grad_()
    out = causal_conv1d_fn(x, weight, bias, initial_states=past)
    true = _truth(x, weight, bias, None, past)
    torch.testing.assert_close(out.double(), true, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(out.square().sum(), past),
        torch.autograd.grad(true.square().sum(), past),
        atol=1e-4,
        rtol=1e-4,
    )


def test_packed_sequences_do_not_see_each_other():
    x, weight, bias = _tensors(length=12)
    numbers = torch.tensor([[0] * 5 + [1] * 7, [3] * 12], dtype=torch.int32)
    out = causal_conv1d_fn(x, weight, bias, numbers, activation="silu")
    for part in (slice(0, 5), slice(5, 12)):
        alone = causal_conv1d_fn(x[:1, :, part], weight, bias, activation="silu")
        torch.testing.assert_close(out[:1, :, part], alone)
    torch.testing.assert_close(out[1:], causal_conv1d_fn(x[1:], weight, bias, activation="silu"))


def test_padding_between_packed_sequences_gives_zero():
    x, weight, bias = _tensors(length=6)
    numbers = torch.tensor([[0, 0, -1, 1, 1, 1]] * 2, dtype=torch.int32)
    assert (causal_conv1d_fn(x, weight, bias, numbers)[..., 2] == 0).all()


def test_what_upstream_refuses_is_refused():
    x, weight, bias = _tensors()
    with pytest.raises(NotImplementedError, match="gelu"):
        causal_conv1d_fn(x, weight, bias, activation="gelu")
    numbers = torch.zeros((2, 37), dtype=torch.int32)
    with pytest.raises(ValueError, match="seq_idx"):
        causal_conv1d_fn(x, weight, bias, numbers, return_final_states=True)
    with pytest.raises(ValueError, match="axes"):
        causal_conv1d_fn(x[0], weight, bias)
