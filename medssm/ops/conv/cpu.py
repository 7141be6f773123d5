"""The native causal convolution on CPU as torch custom operators."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medssm.ops.conv.autograd import connect
from medssm.ops.conv.inputs import ConvInputs
from medssm.ops.native.library import load
from medssm.ops.native.record import ABSENT, at, dense, launch, unwatched, view
from medssm.ops.native.variants import NoCompilerError

SOURCE = Path(__file__).parent / "conv_cpu.cpp"
MOST_TAPS = 8
LEAST_STEPS = 256  # steps of a task: below this a thread costs more than it saves
WORDS = 8 + 5 + 4 * 6  # of the C struct


def missing() -> str | None:
    """Say why this machine cannot run the native convolution; None when it can."""
    try:
        library = load(SOURCE)
    except (NoCompilerError, OSError) as error:
        return f"{error}."
    assert library.medssm_conv_call_size() == WORDS * 8
    return None


def refuses(call: ConvInputs) -> str | None:
    """Say why the native convolution cannot take a call; None when it can."""
    if call.x.device.type != "cpu":
        return f"the tensors are on {call.x.device.type}, not on the CPU."
    if call.weight.shape[2] > MOST_TAPS:
        return f"it has {MOST_TAPS} taps at most, the weight has {call.weight.shape[2]}."
    half = call.x.dtype == torch.float16
    if half and not torch.compiler.is_compiling() and not load(SOURCE).medssm_conv_has_half():
        return "the compiler had no float16."  # under torch.compile the kernel itself says so
    return None


def run(call: ConvInputs) -> Tensor:
    """Convolve natively; gradients flow to x, weight and bias."""
    tensors = (call.x, call.weight, call.bias)
    if not unwatched(*tensors):
        return conv(*tensors, call.table, call.silu)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    return (Direct.apply if save else forward)(*tensors, call.table, call.silu)


def _sizes(x: Tensor, weight: Tensor, silu: bool) -> list[int]:
    """The first words of the C struct."""
    b, length, d = x.shape
    k, _, taps = weight.shape
    threads = torch.get_num_threads()
    segments = max(1, min(4 * threads, length // LEAST_STEPS))
    return [b, k, length, d, taps, silu, threads, segments]


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, table: Tensor | None, silu: bool
) -> Tensor:
    """Convolve forward: x (b, L, d) to (b, k, L, d)."""
    weight, bias, table = dense(weight, bias, table)  # type: ignore[assignment]
    b, length, d = x.shape
    out = x.new_empty((b, weight.shape[0], length, d))
    pointers = [at(table), at(weight), at(bias), 0, 0]
    views = [*view(x.unsqueeze(1)), *view(out), *ABSENT, *ABSENT]
    words = [*_sizes(x, weight, silu), *pointers, *views]
    launch(SOURCE, "medssm_conv", words, weight.dtype == torch.float64, back=False)
    return out


conv = torch.library.custom_op("medssm::conv_cpu", mutates_args=(), device_types="cpu")(forward)


def backward(
    dout: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    table: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    weight, bias, table = dense(weight, bias, table)  # type: ignore[assignment]
    b, length, d = x.shape
    k, _, taps = weight.shape
    sizes = _sizes(x, weight, silu)
    # several routes add up: not in a half type
    dx = x.new_empty((b, length, d), dtype=x.dtype if k == 1 else weight.dtype)
    empty = weight.new_zeros if x.numel() == 0 else weight.new_empty
    dweight, dbias = empty((sizes[-1], b, k, d, taps)), empty((sizes[-1], b, k, d))
    pointers = [at(table), at(weight), at(bias), at(dweight), at(dbias)]
    views = [*view(x.unsqueeze(1)), *ABSENT, *view(dout), *view(dx.unsqueeze(1))]
    words = [*sizes, *pointers, *views]
    launch(SOURCE, "medssm_conv", words, weight.dtype == torch.float64, back=True)
    return dx.to(x.dtype), dweight.sum((0, 1)), dbias.sum((0, 1))


conv_backward = torch.library.custom_op(
    "medssm::conv_cpu_backward", mutates_args=(), device_types="cpu"
)(backward)
connect(conv, conv_backward)


class Direct(torch.autograd.Function):
    """The operator without the dispatcher: the same forward and backward."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """As the operator's."""
        *tensors, ctx.silu = inputs
        ctx.save_for_backward(*tensors)
        return forward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """As the operator's."""
        x, weight, bias, table = ctx.saved_tensors
        dx, dweight, dbias = backward(gradients[0], x, weight, bias, table, ctx.silu)
        return dx, dweight, None if bias is None else dbias, None, None
