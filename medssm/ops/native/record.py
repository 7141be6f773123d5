"""Hand a call to native code: one array of 8-byte words that mirrors the C struct of the kernel."""

import ctypes
from array import array
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from medssm.ops.native.library import KINDS, load

Words = tuple[int, int, int, int, int, int]
ABSENT: Words = (0, 0, 0, 0, 0, 0)
_PROBLEMS = {
    1: ValueError("routes: every row of the table must visit each position 0..L-1 exactly once."),
    2: MemoryError("the native kernel got no memory for its scratch; use fewer threads."),
    3: TypeError("the compiler of the native kernel had no float16; take bfloat16 or float32."),
}


def at(tensor: Tensor | None) -> int:
    """The address of a tensor's data; 0 where it is absent."""
    return 0 if tensor is None else tensor.data_ptr()


def view(tensor: Tensor | None, share_routes: bool = False) -> Words:
    """The words of a `View` of simd.h: address, strides, element type.

    Args:
        tensor: A tensor (batch, route, position, channel); None: the tensor is absent.
        share_routes: All routes read or write the one tensor (route stride 0).
    """
    if tensor is None:
        return ABSENT
    b, k, p, d = tensor.stride()
    if share_routes or tensor.shape[1] == 1:
        k = 0
    return (tensor.data_ptr(), b, k, p, d, KINDS[tensor.dtype])


def launch(source: Path, function: str, words: Iterable[int], wide: bool, back: bool) -> None:
    """Run a kernel; other Python threads go on meanwhile.

    Args:
        source: The C++ file.
        function: The name of the exported function.
        words: The members of its struct, in order.
        wide: Whether it computes in double precision.
        back: Whether it computes gradients.

    Raises:
        ValueError: A route is no permutation.
        MemoryError: The kernel got no memory.
        TypeError: A tensor is float16 and the kernel was built without.
    """
    record = array("q", words)
    failed = getattr(load(source), function)(
        ctypes.c_void_p(record.buffer_info()[0]), int(wide), int(back)
    )
    if failed:
        raise _PROBLEMS[failed]


def unwatched(*tensors: Tensor | None) -> bool:
    """Whether a kernel may run without the dispatcher, which costs as much as a small scan.

    It may not where someone listens to operators: a compiler, an exporter, a tracer, a dispatch
    mode, a transform of torch.func, or a subclass of Tensor.
    """
    plain = (Tensor, torch.nn.Parameter)
    return (
        not torch.compiler.is_compiling()
        and all(tensor is None or type(tensor) in plain for tensor in tensors)
        and not is_in_torch_dispatch_mode()
        and not torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def dense(*tensors: Tensor | None) -> list[Tensor | None]:
    """The same tensors, row by row in memory."""
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def computing(x: Tensor) -> torch.dtype:
    """The type of all arithmetic on a tensor."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
