"""mamba_ssm's published operator test, written anew: its grid of options and its tolerances."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from medssm.ops import selective_scan_fn

BATCH, CHANNELS, STATES = 2, 4, 8
LENGTHS = [128, 256, 512, 1024, 2048, 4096]
TOLERANCES = {  # of the output: relative, absolute
    torch.float32: (6e-4, 2e-3),
    torch.float16: (3e-3, 5e-3),
    torch.bfloat16: (3e-2, 5e-2),
}
PARAMETERS = (1e-3, 1e-3)


def _leaves(length, itype, groups, z=True, skip=True, bias=True, each_b=True, each_c=True):
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=g)

    def weights(each):
        if not each:
            return normal(CHANNELS, STATES)
        shape = (BATCH, STATES, length) if groups == 1 else (BATCH, groups, STATES, length)
        return normal(*shape).to(itype)

    leaves = {
        "u": normal(BATCH, CHANNELS, length).to(itype),
        "delta": (0.5 * torch.rand((BATCH, CHANNELS, length), generator=g)).to(itype),
        "A": -0.5 * torch.rand((CHANNELS, STATES), generator=g),
        "B": weights(each_b),
        "C": weights(each_c),
    }
    if skip:
        leaves["D"] = normal(CHANNELS)
    if z:
        leaves["z"] = normal(BATCH, CHANNELS, length).to(itype)
    if bias:
        leaves["delta_bias"] = 0.5 * torch.rand(CHANNELS, generator=g)
    return {name: leaf.requires_grad_() for name, leaf in leaves.items()}


def _steps_of(x, length):
    """B or C for each step and channel: (b, d, n) each."""
    if x.dim() == 2:
        return [x.expand(BATCH, -1, -1)] * length
    if x.dim() == 3:
        x = x[:, None]
    return x.repeat_interleave(CHANNELS // x.shape[1], 1).unbind(-1)


def _truth(leaves, softplus):
    """The equations in float32, in the layout of mamba_ssm."""
    u, delta = leaves["u"].float(), leaves["delta"].float()
    length, state, rows = u.shape[2], torch.zeros(BATCH, CHANNELS, STATES), []
    if "delta_bias" in leaves:
        delta = delta + leaves["delta_bias"][:, None]
    if softplus:
        delta = F.softplus(delta)
    B, C = (_steps_of(leaves[name].float(), length) for name in ("B", "C"))
    for s, x, b, c in zip(delta.unbind(-1), u.unbind(-1), B, C, strict=True):
        state = (s[..., None] * leaves["A"]).exp() * state + (s * x)[..., None] * b
        rows.append((state * c).sum(-1))
    y = torch.stack(rows, -1)
    if "D" in leaves:
        y = y + leaves["D"][:, None] * u
    if "z" in leaves:
        y = y * F.silu(leaves["z"].float())
    return y.to(leaves["u"].dtype), state


def _gradients(out, leaves, seed=1):
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
    grads = torch.autograd.grad(out, list(leaves.values()), weight.to(out.dtype))
    return dict(zip(leaves, grads, strict=True))


def _check(leaves, softplus):
    itype = leaves["u"].dtype
    rtol, atol = TOLERANCES[itype]
    wide = (max(PARAMETERS[0], rtol), max(PARAMETERS[1], atol)) if "z" in leaves else PARAMETERS
    out, state = selective_scan_fn(**leaves, delta_softplus=softplus, return_last_state=True)
    true_out, true_state = _truth(leaves, softplus)
    assert out.dtype == itype
    assert state.dtype == torch.float32
    torch.testing.assert_close(out, true_out, rtol=rtol, atol=atol)
    torch.testing.assert_close(state, true_state, rtol=rtol, atol=atol)
    ours, theirs = _gradients(out, leaves), _gradients(true_out, leaves)
    limits = {
        "u": (rtol * 2, atol * 2),
        "delta": (rtol * 5, atol * 10),
        "A": (wide[0], wide[1] * 5),
        "B": (rtol, atol) if leaves["B"].dim() > 2 else wide,
        "C": (rtol, atol) if leaves["C"].dim() > 2 else wide,
        "D": wide,
        "z": wide,
        "delta_bias": wide,
    }
    for name, leaf in leaves.items():
        assert ours[name].dtype == leaf.dtype
        relative, absolute = limits[name]
        torch.testing.assert_close(
            ours[name], theirs[name].to(leaf.dtype), rtol=relative, atol=absolute
        )


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("itype", list(TOLERANCES))
@pytest.mark.parametrize("length", LENGTHS)
def test_the_published_grid_of_lengths_types_and_groups(length, itype, groups):
    _check(_leaves(length, itype, groups), softplus=True)


@pytest.mark.parametrize("options", list(itertools.product([True, False], repeat=4)))
@pytest.mark.parametrize("groups", [1, 2])
def test_the_published_grid_of_options(options, groups):
    z, skip, bias, softplus = options
    _check(_leaves(128, torch.float32, groups, z, skip, bias), softplus)


@pytest.mark.parametrize(("each_b", "each_c"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("z", [True, False])
def test_b_and_c_may_be_the_same_at_every_step(each_b, each_c, z):
    _check(_leaves(128, torch.float32, 1, z, each_b=each_b, each_c=each_c), softplus=True)


def test_b_may_be_constant_while_c_has_groups():
    _check(_leaves(64, torch.float32, 2, each_b=False), softplus=True)


def test_the_state_is_left_out_unless_asked_for():
    leaves = _leaves(16, torch.float32, 1)
    assert isinstance(selective_scan_fn(**leaves), torch.Tensor)


def test_arguments_may_be_given_by_position():
    leaves = _leaves(16, torch.float32, 1)
    order = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    out, _ = selective_scan_fn(*(leaves[name] for name in order), True, True)
    torch.testing.assert_close(out, selective_scan_fn(**leaves, delta_softplus=True))


def test_a_complex_decay_is_refused_in_words():
    leaves = _leaves(16, torch.float32, 1)
    with pytest.raises(ValueError, match="s4d_convolution"):
        selective_scan_fn(**(leaves | {"A": leaves["A"].to(torch.complex64)}))


@pytest.mark.parametrize(
    "wrong",
    [{"B": torch.zeros(2, 3, 8, 16)}, {"B": torch.zeros(5, 8)}, {"u": torch.zeros(2, 4)}],
)
def test_a_shape_that_does_not_fit_is_an_error(wrong):
    leaves = _leaves(16, torch.float32, 1)
    with pytest.raises(ValueError, match=r"axes|groups|expected"):
        selective_scan_fn(**(leaves | wrong))
