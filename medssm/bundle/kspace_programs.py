"""A module of several inputs as a program of any batch and size, as .pt2 and as ONNX."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medssm.core.errors import MedssmError
from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.ops.backends import prefer

Inputs = tuple[Tensor, ...]
# every operator in plain PyTorch, the scan as its own higher-order operator
_PORTABLE = "portable,reference"


@dataclass(frozen=True)
class SeveralInputs:
    """An exported module.

    Args:
        program: What torch.export made.
        any_size: Whether it takes other sizes than the example's.
    """

    program: Any
    any_size: bool


def trace(module: nn.Module, example: Inputs, other: Inputs) -> SeveralInputs:
    """Trace a module into a program of any size, or where that fails of the example's.

    Args:
        module: Takes as many tensors as `example` has; in evaluation mode on the CPU.
        example: A batch of two; axes of length one stay so.
        other: The same with other lengths, which a program of any size must take.
    """
    axes = [{axis for axis, size in enumerate(each.shape) if size > 1} for each in example]
    same = [
        {axis for axis in found if a.shape[axis] == b.shape[axis] and axis > 0}
        for found, a, b in zip(axes, example, other, strict=True)
    ]
    auto = torch.export.Dim.AUTO
    free = tuple(dict.fromkeys(sorted(a - s), auto) for a, s in zip(axes, same, strict=True))
    try:
        program = _traced(module, example, free)
        with torch.no_grad():
            program.module()(*other)
        return SeveralInputs(program, True)
    except (AssertionError, RuntimeError, ValueError, torch._dynamo.exc.UserError):
        program = _traced(module, example, tuple({0: auto} for _ in example))
        return SeveralInputs(program, False)


def write_program(made: SeveralInputs, file: Path) -> None:
    """Write a program as .pt2."""
    with atomic_path(file) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # torch wants the ending, a partial file has another
        place = partial.with_name(f"{partial.name}.pt2")
        torch.export.save(made.program, place)
        place.replace(partial)


def write_onnx(made: SeveralInputs, file: Path) -> None:
    """Write a program as ONNX.

    Raises:
        MachineError: onnx or onnxscript is not installed.
        MedssmError: An operator of the network has no counterpart there.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "export")
    with warnings.catch_warnings(), torch.no_grad(), atomic_path(file) as partial:
        warnings.simplefilter("ignore")
        try:
            onnx = torch.onnx.export(made.program, dynamo=True, verbose=False)
        except Exception as error:
            reason = str(error).strip().splitlines()[-1]
            raise MedssmError(f"{file}: ONNX cannot hold this network ({reason}).") from error
        if onnx is None:
            raise MedssmError("torch.onnx.export gave no program back.")
        onnx.save(partial)


def run_program(file: Path, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The answers of a .pt2 file."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(torch.export.load(file).module()(*inputs))


def run_onnx(file: Path, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The answers of an ONNX file in onnxruntime.

    Raises:
        MachineError: onnxruntime is not installed.
    """
    session = require("onnxruntime", "export").InferenceSession(file.read_bytes())
    given = {each.name: x.numpy() for each, x in zip(session.get_inputs(), inputs, strict=True)}
    return [torch.from_numpy(each) for each in session.run(None, given)]


def _traced(module: nn.Module, example: Inputs, axes: tuple[dict[int, Any], ...]) -> Any:
    # see programs: what was compiled before would close sizes that are to stay open
    torch.compiler.reset()
    with prefer(_PORTABLE), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, example, dynamic_shapes=axes,
                                   strict=False)  # fmt: skip
