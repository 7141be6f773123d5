"""Stand-ins for mamba_ssm and causal_conv1d: the equations in their layouts, on the CPU."""

import sys
from types import ModuleType

import torch.nn.functional as F

from medssm.ops import selective_scan_fn


def _scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state):
    assert z is None
    assert {x.dtype for x in (delta, B, C)} == {u.dtype}
    assert B.dim() == C.dim() == 4
    out, last = selective_scan_fn(
        u, delta, A, B, C, D, None, delta_bias, delta_softplus, return_last_state
    )
    return out, last


def _conv(x, weight, bias=None, activation=None):
    taps = weight.shape[1]
    assert x.stride(1) == 1 or x.stride(2) == 1
    weight = weight.to(x.dtype)[:, None]
    y = F.conv1d(F.pad(x, (taps - 1, 0)), weight, bias, groups=len(weight))
    return F.silu(y) if activation else y


def stand_in(monkeypatch) -> None:
    """Put the stand-ins where the packages would be.

    As upstream, the last state is part of the graph; what upstream does with its gradient (it
    drops it) needs no imitation.
    """
    for name, members in {
        "mamba_ssm": {},
        "mamba_ssm.ops": {},
        "mamba_ssm.ops.selective_scan_interface": {"selective_scan_fn": _scan},
        "causal_conv1d": {"causal_conv1d_fn": _conv},
    }.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        module.__spec__ = sys.__spec__
        monkeypatch.setitem(sys.modules, name, module)
