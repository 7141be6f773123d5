"""mamba_ssm's CUDA kernel as a backend of the scan: a comparator, where it is installed."""

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.reference import Result, gated

MOST_STATES = 256
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def missing() -> str | None:
    """Say why this machine cannot run mamba_ssm; None when it can."""
    if importlib.util.find_spec("mamba_ssm") is None:
        return "mamba_ssm is not installed; get it with pip install 'medssm[cuda]'."
    if not torch.cuda.is_available():
        return "mamba_ssm needs an NVIDIA GPU, and PyTorch sees none."
    try:
        _kernel()
    except ImportError as error:
        return f"mamba_ssm cannot be imported: {error}."
    return None


def refuses(call: ScanInputs) -> str | None:
    """Say everything that keeps mamba_ssm from a call; None when nothing does."""
    device, states = call.u.device.type, call.A.shape[2]
    streams = {x.dtype for x in (call.u, call.delta, call.B, call.C)}
    types = f"one type of {_names(TYPES)} for u, delta, B and C, they are of {_names(streams)}"
    limits = {
        f"the tensors are on {device}, it takes CUDA only": device != "cuda",
        f"it has {MOST_STATES} states at most, A has {states}": states > MOST_STATES,
        f"it takes {types}": len(streams) > 1 or not streams <= set(TYPES),
        "it has no routes, only the order of memory": call.table is not None,
        "it takes no initial state": call.initial_state is not None,
        "it takes no lengths": call.lengths is not None,
        "it has no local window": call.local_window > 0,
        "its backward adds in no fixed order": _must_repeat(call),
    }
    reasons = [reason for reason, holds in limits.items() if holds]
    return "; ".join(reasons) + "." if reasons else None


def run(call: ScanInputs) -> Result:
    """Scan by mamba_ssm: routes are its groups, and a sum of routes is taken afterwards."""
    b, k, length, _ = call.delta.shape
    d, n = call.A.shape[1:]
    delta = call.with_full_delta().delta.to(call.u.dtype)

    def channels_first(x: Tensor) -> Tensor:  # (b, 1 or k, L, d) to (b, k d, L)
        return x.expand(b, k, length, -1).transpose(2, 3).reshape(b, k * x.shape[3], length)

    y, last = _kernel()(
        channels_first(call.u),
        channels_first(delta),
        call.A.reshape(k * d, n),
        call.B.transpose(2, 3).contiguous(),
        call.C.transpose(2, 3).contiguous(),
        None if call.D is None else call.D.flatten(),
        None,
        None if call.delta_bias is None else call.delta_bias.flatten(),
        call.softplus,
        True,
    )
    y = y.unflatten(1, (k, d)).transpose(2, 3).to(call.computing)
    last = _WithoutGradient.apply(last.unflatten(1, (k, d)))
    return gated(y.sum(1) if call.merge else y, call), last


def _names(types: Any) -> str:
    return ", ".join(sorted(str(each).removeprefix("torch.") for each in types))


def _must_repeat(call: ScanInputs) -> bool:
    if call.deterministic is None:
        return torch.are_deterministic_algorithms_enabled()
    return call.deterministic


def _kernel() -> Any:
    interface = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    return interface.selective_scan_fn


class _WithoutGradient(torch.autograd.Function):
    """The last state, whose gradient mamba_ssm would drop without a word."""

    @staticmethod
    def forward(_: Any, last: Tensor) -> Tensor:
        return last.clone()

    @staticmethod
    def backward(_: Any, *_gradients: Tensor) -> Any:
        raise RuntimeError(
            "mamba_ssm gives its last state no gradient; take another backend of the scan for it,"
            " or detach the state."
        )
