"""causal_conv1d's CUDA kernel as a backend of the convolution: a comparator, where installed."""

import importlib
import importlib.util

import torch
from torch import Tensor

from medssm.ops.conv.inputs import ConvInputs

TAPS = (2, 3, 4)
ALIGNED = 8
"""Its channels-last kernel takes channels by eights; other sizes are copied to channels first."""


def missing() -> str | None:
    """Say why this machine cannot run causal_conv1d; None when it can."""
    if importlib.util.find_spec("causal_conv1d") is None:
        return "causal_conv1d is not installed; get it with pip install 'medssm[cuda]'."
    if not torch.cuda.is_available():
        return "causal_conv1d needs an NVIDIA GPU, and PyTorch sees none."
    try:
        importlib.import_module("causal_conv1d")
    except ImportError as error:
        return f"causal_conv1d cannot be imported: {error}."
    return None


def refuses(call: ConvInputs) -> str | None:
    """Say everything that keeps causal_conv1d from a call; None when nothing does."""
    device, taps = call.x.device.type, call.weight.shape[2]
    limits = {
        f"the tensors are on {device}, it takes CUDA only": device != "cuda",
        f"it has 2 to 4 taps, the weight has {taps}": taps not in TAPS,
        "it has no routes, only the order of memory": call.table is not None,
        "it has no float64": call.x.dtype == torch.float64,
    }
    reasons = [reason for reason, holds in limits.items() if holds]
    return "; ".join(reasons) + "." if reasons else None


def run(call: ConvInputs) -> Tensor:
    """Convolve by causal_conv1d, one call a route."""
    convolve = importlib.import_module("causal_conv1d").causal_conv1d_fn
    x = call.x if call.x.is_contiguous() else call.x.contiguous()
    x = x.transpose(1, 2)
    if x.shape[1] % ALIGNED:
        x = x.contiguous()
    activation = "silu" if call.silu else None
    ways = [
        convolve(x, weight, None if call.bias is None else call.bias[r], activation=activation)
        for r, weight in enumerate(call.weight)
    ]
    return torch.stack(ways, 1).transpose(2, 3)
