"""The functions of mamba_ssm and causal_conv1d, by their signatures and layouts, on any device."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.ops.conv import causal_conv1d
from medssm.ops.scan import selective_scan


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan in the layout of mamba_ssm, channels before length; a drop-in for its function.

    A B or C of two axes is the same at every step and its own for each channel. One of four axes
    is shared by the channels of each group, the groups following each other in the channels. Types
    may be mixed, lengths, states and strides are free, and the last state has a gradient.

    Returns:
        The output with the type of u; and the state after the last step, if asked.

    Shape:
        u, delta, z: (b, d, l), A: (d, n), B, C: (d, n), (b, n, l) or (b, g, n, l), D, delta_bias:
        (d,); result (b, d, l), state (b, d, n) float32.

    Raises:
        ValueError: A shape does not fit, or A, B or C is complex.

    Source:
        Gu and Dao, "Mamba", 2023; the signature is that of mamba_ssm 2.3.
    """
    for name, tensor in (("A", A), ("B", B), ("C", C)):
        if tensor.is_complex():
            raise ValueError(
                f"{name} is complex; this scan is real. A complex decay that does not depend on"
                " the input is medssm.ops.s4d_convolution."
            )
    if u.dim() != 3 or A.dim() != 2:
        raise ValueError(
            f"u must have the axes (batch, channel, length) and A (channel, state); got"
            f" {tuple(u.shape)} and {tuple(A.shape)}."
        )
    b, d, length = u.shape
    routes = _routes(B, C, d)
    split = (routes, d // routes)
    gate_inside = z is not None and routes == 1
    # a gate outside comes before the one rounding to a half type
    wide = u if gate_inside or z is None else u.to(torch.promote_types(u.dtype, torch.float32))
    along = [_split(x, 1, split).transpose(2, 3) for x in (wide, delta)]
    inputs = [_each_step(name, x, (b, d, length), routes) for name, x in (("B", B), ("C", C))]
    D, delta_bias = (None if x is None else _split(x, 0, split) for x in (D, delta_bias))
    y, last = selective_scan(
        along[0],
        along[1],
        _split(A, 0, split),
        inputs[0],
        inputs[1],
        D,
        delta_bias=delta_bias,
        z=z.transpose(1, 2) if z is not None and gate_inside else None,
        delta_softplus=delta_softplus,
        merge="none",
        return_last_state=True,
    )
    out = y.transpose(2, 3).reshape(b, d, length)
    if z is not None and not gate_inside:
        out = (out * F.silu(z.to(wide.dtype))).to(u.dtype)
    return (out, last.reshape(b, d, -1)) if return_last_state else out


def _split(x: Tensor, axis: int, sizes: tuple[int, int]) -> Tensor:
    """Cut an axis in two."""
    return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])


def _routes(B: Tensor, C: Tensor, channels: int) -> int:
    """Groups of channels with a B and a C in common: each is a route of the scan."""
    groups = {x.shape[1] for x in (B, C) if x.dim() == 4}
    if len(groups) > 1 or any(channels % max(g, 1) for g in groups):
        raise ValueError(
            f"B {tuple(B.shape)} and C {tuple(C.shape)} must have the same number of groups, a"
            f" divisor of the {channels} channels."
        )
    if B.dim() == 2 or C.dim() == 2:
        return channels
    return groups.pop() if groups else 1


def _each_step(name: str, x: Tensor, sizes: tuple[int, int, int], routes: int) -> Tensor:
    """Lay B or C out for every route and step.

    Shape:
        x: (d, n), (b, n, l) or (b, g, n, l); result (b, routes, l, n).
    """
    b, d, length = sizes
    if x.dim() == 2:
        if len(x) != d:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {d} channels first.")
        return x[None, :, None].expand(b, d, length, x.shape[1])
    if x.dim() == 3:
        return x[:, None].transpose(2, 3).expand(-1, routes, -1, -1)
    if x.dim() != 4:
        raise ValueError(f"{name} has {x.dim()} axes, expected 2, 3 or 4.")
    return x.transpose(2, 3).repeat_interleave(routes // x.shape[1], dim=1)


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: Literal["silu", "swish"] | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve in the layout of causal_conv1d, channels before length; a drop-in for its function.

    Args:
        x: Tokens, any strides and any number of channels.
        weight: One set of taps a channel, any number of taps.
        bias: Added before the activation.
        seq_idx: The sequence that each token belongs to: no token sees one of another sequence.
            A token with a negative number is padding; its output is 0.
        initial_states: The tokens before the first.
        return_final_states: Also give the last w - 1 tokens, the next call's initial states.
        final_states_out: Written with the final states, which are then this tensor.
        activation: None, "silu" or its other name, "swish".

    Shape:
        x: (b, d, l), weight: (d, w), bias: (d,), seq_idx: (b, l), states: (b, d, w - 1);
        result (b, d, l).

    Raises:
        NotImplementedError: Another activation, as upstream.
        ValueError: A shape does not fit, or states are combined with seq_idx.

    Source:
        The signature is that of causal_conv1d 1.7.
    """
    if activation not in {None, "silu", "swish"}:
        raise NotImplementedError(f"activation is {activation!r}; take None, 'silu' or 'swish'.")
    if x.dim() != 3 or weight.dim() != 2:
        raise ValueError(
            f"x must have the axes (batch, channel, length) and weight (channel, tap); got"
            f" {tuple(x.shape)} and {tuple(weight.shape)}."
        )
    silu: Literal["silu"] | None = "silu" if activation else None
    if seq_idx is not None:
        if initial_states is not None or return_final_states:
            raise ValueError("seq_idx goes neither with initial_states nor with final states.")
        return _convolve_sequences(x, weight, bias, seq_idx, silu is not None)
    past = weight.shape[1] - 1
    tokens = x.transpose(1, 2)
    if initial_states is not None:
        tokens = torch.cat((initial_states.transpose(1, 2).to(x.dtype), tokens), 1)
    given = tokens.shape[1] - x.shape[2]
    y = causal_conv1d(tokens, weight[None], None if bias is None else bias[None], activation=silu)
    out = y[:, 0, given:].transpose(1, 2)
    if not return_final_states:
        return out
    final = F.pad(tokens, (0, 0, past - given, 0))[:, x.shape[2] :].transpose(1, 2)
    return out, final if final_states_out is None else final_states_out.copy_(final)


def _convolve_sequences(
    x: Tensor, weight: Tensor, bias: Tensor | None, seq_idx: Tensor, silu: bool
) -> Tensor:
    """Convolve packed sequences: a tap whose token belongs to another sequence counts zero."""
    wide = torch.promote_types(x.dtype, torch.float32)
    taps, length = weight.shape[1], x.shape[2]
    tokens = F.pad(x.to(wide), (taps - 1, 0))
    owners = F.pad(seq_idx, (taps - 1, 0), value=-1)
    y = torch.zeros_like(x, dtype=wide)
    for j in range(taps):
        same = (owners[:, j : j + length] == seq_idx)[:, None]
        y = y + weight[:, j, None].to(wide) * tokens[:, :, j : j + length] * same
    if bias is not None:
        y = y + bias[:, None].to(wide)
    y = F.silu(y) if silu else y
    return (y * (seq_idx >= 0)[:, None]).to(x.dtype)
