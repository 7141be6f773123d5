"""The scan's Triton backend: what it needs of a machine, what it refuses, how it is called.

Every sum is taken in a fixed order, without atomics: results are the same bits on every run, so a
deterministic call costs nothing more and `torch.use_deterministic_algorithms` is always met.
"""

import functools
import importlib.util
import os

import torch
from torch import Tensor

from medssm.ops.backends import wished
from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.reference import Result
from medssm.ops.scan.triton_operators import scan

NAME = "triton"
TYPES = (torch.float32, torch.bfloat16, torch.float16)
# Triton then runs its kernels in Python, on CPU tensors, as its tests do
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in {"", "0"}


@functools.cache
def missing() -> str | None:
    """Say why this machine cannot run Triton kernels; None when it can."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed; install it with: pip install triton."
    if INTERPRETED or torch.cuda.is_available():
        return None
    return "torch finds no CUDA or ROCm device."


def refuses(call: ScanInputs) -> str | None:
    """Say why the Triton scan cannot take a call; None when it can."""
    return refuses_place(call.u) or refuses_types(
        u=call.u, delta=call.delta, B=call.B, C=call.C, z=call.z
    )


def refuses_place(x: Tensor) -> str | None:
    """Say why Triton cannot run where a tensor lies; None when it can."""
    if x.device.type == "cuda" or (INTERPRETED and NAME in wished()):
        return None
    return f"the tensors are on {x.device.type}, not on a CUDA or ROCm device."


def refuses_types(**tensors: Tensor | None) -> str | None:
    """Say which tensor has a type that the kernels do not compute; None when none has."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype not in TYPES:
            return f"{name} is {tensor.dtype}; the kernels take float32, bfloat16 and float16."
    return None


def run(call: ScanInputs) -> Result:
    """Scan by Triton; gradients flow to every tensor, the initial and the last state.

    A low-rank step is multiplied out first, by the matrix library: that costs the bytes of a
    full-rank delta, in the type of the product.
    """
    call = call.with_full_delta()
    routes = call.A.shape[0]
    merge = call.merge or routes == 1
    outside = call.z is not None and not merge
    gate = None if outside else call.z
    data = (call.u, call.delta, call.A, call.B, call.C, call.D, call.delta_bias)
    tensors = (*data, gate, call.initial_state)
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    flags = (call.softplus, merge, call.local_window, save)
    out, _, _, last = scan(*tensors, call.table, call.lengths, *flags)
    if outside:
        assert call.z is not None
        out = out * torch.nn.functional.silu(call.z)[:, None].to(out.dtype)
    return out[:, 0] if call.merge else out, last
