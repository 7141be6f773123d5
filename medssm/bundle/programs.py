"""A network as a program that runs without this library: .pt2 by torch.export, and ONNX."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from medssm.bundle.onnx_passes import make_lean
from medssm.core.errors import BadArgumentError, MedssmError, UsageError
from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.core.log import detail, say
from medssm.ops.backends import prefer

# every operator in plain PyTorch, the scan as its own higher-order operator
_PORTABLE = "portable,reference"
# two sizes that are equal by chance would be taken for one
_STRIDE = 2
# how torch.export says no: in its own words, or in those of the algebra it asks
_REFUSED = (AssertionError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Program:
    """An exported network.

    Args:
        program: What torch.export made.
        example: The input it was traced with.
        other: An input of another size that it was tried on.
        any_size: Whether it takes other spatial sizes than the example's.
        largest_difference: Between its logits and the network's, over both sizes and batches.
    """

    program: Any
    example: Tensor
    other: Tensor
    any_size: bool
    largest_difference: float


def portable_program(network: nn.Module, channels: int, size: Sequence[int]) -> Program:
    """Trace a network into a program that holds no operator of ours.

    Args:
        network: Takes (B, C, *S), gives logits; put in evaluation mode on the CPU.
        channels: C.
        size: Spatial size to trace with; a multiple of the network's divisors.

    Returns:
        The program, tried on other sizes and batches than the one it was traced with.

    Raises:
        MedssmError: torch.export cannot hold the network.
        BadArgumentError: The program's logits have another shape than the network's.
    """
    network = network.cpu().eval()
    divisors = tuple(getattr(network, "divisors", (1,) * len(size)))
    example, other = examples(channels, tuple(size), divisors)
    for dynamic in (_multiples(divisors), _guessed(example.ndim)):
        try:
            program = _trace(network, example, dynamic)
        except _REFUSED as error:
            detail("no program of any size: %s", str(error).strip().splitlines()[0])
            continue
        if _runs(program, other):
            found = largest_difference(program.module(), network, trials(example, other))
            return Program(program, example, other, True, found)
    say("the size %s is a part of this program: its orders or positions are made for it.", _x(size))
    example = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
    try:
        program = _trace(network, example, {0: torch.export.Dim.AUTO})
    except _REFUSED as error:
        told = str(error).strip().splitlines()[0]
        raise MedssmError(f"torch.export cannot hold {type(network).__name__}: {told}") from error
    found = largest_difference(program.module(), network, trials(example))
    return Program(program, example, example, False, found)


def write_program(made: Program, file: Path) -> None:
    """Write a program as .pt2, which torch.export.load reads where torch is."""
    # it tells of every empty list of arguments
    logging.getLogger("torch._export.serde.serialize").setLevel(logging.ERROR)
    with atomic_path(file) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # torch wants the ending, a partial file has another
        place = partial.with_name(f"{partial.name}.pt2")
        torch.export.save(made.program, place)
        place.replace(partial)


def write_onnx(made: Program, network: nn.Module, file: Path) -> float:
    """Write a program as ONNX, its scans as the standard's Scan nodes, and try it.

    Returns:
        The largest difference between its logits in onnxruntime and the network's.

    Raises:
        MachineError: onnx, onnxscript or onnxruntime is not installed.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, "export")
    with warnings.catch_warnings(), torch.no_grad(), atomic_path(file) as partial:
        warnings.simplefilter("ignore")
        onnx = torch.onnx.export(
            made.program, dynamo=True, verbose=False, optimize=False,
            input_names=["input"], output_names=["output"],
        )  # fmt: skip
        if onnx is None:
            raise MedssmError("torch.onnx.export gave no program back.")
        make_lean(onnx.model)
        onnx.save(partial)
        run = open_onnx(partial)
        return largest_difference(run, network, trials(made.example, made.other))


def open_program(file: Path) -> Callable[[Tensor], Tensor]:
    """Run a .pt2 file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.load(file).module()
    return cast("Callable[[Tensor], Tensor]", module)


def open_onnx(file: Path) -> Callable[[Tensor], Tensor]:
    """Run an ONNX file in onnxruntime, with as many threads as PyTorch has.

    Raises:
        MachineError: onnxruntime is not installed.
    """
    runtime = require("onnxruntime", "export")
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    # its warnings tell of its own choice of kernels
    settings.log_severity_level = 3
    session = runtime.InferenceSession(
        file.read_bytes(), settings, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        (found,) = session.run(None, {name: x.numpy()})
        return torch.from_numpy(found)

    return run


def example_size(network: nn.Module, patch: Sequence[int], wish: Sequence[int] | None) -> list[int]:
    """The size to trace with: the wish, else the patch the network was trained on.

    Raises:
        UsageError: The wish is no multiple of the network's divisors, or has other axes.
    """
    size = list(wish or patch)
    divisors = tuple(getattr(network, "divisors", (1,) * len(size)))
    if len(size) != len(divisors) or any(s % d for s, d in zip(size, divisors, strict=False)):
        raise UsageError(f"size={size}: expected multiples of {list(divisors)}.")
    return size


def examples(
    channels: int, size: tuple[int, ...], divisors: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Two inputs of different sizes, no two axes of one alike."""
    g = torch.Generator().manual_seed(0)
    taken: list[int] = []
    for least, divisor in zip(size, divisors, strict=True):
        step = max(divisor, _STRIDE)
        each = max(least, 2 * step)
        while each in taken:
            each += step
        taken.append(each)
    other = [each + max(divisor, _STRIDE) for each, divisor in zip(taken, divisors, strict=True)]
    return (
        torch.randn(2, channels, *taken, generator=g),
        torch.randn(2, channels, *other, generator=g),
    )


def _multiples(divisors: Sequence[int]) -> dict[int, Any]:
    """Axes of any size that is a multiple of the network's divisors: halves are exact then."""
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    for axis, divisor in enumerate(divisors):
        one = torch.export.Dim(f"size_{axis}")
        axes[axis + 2] = one if divisor == 1 else divisor * one
    return axes


def _guessed(rank: int) -> dict[int, Any]:
    return {axis: torch.export.Dim.AUTO for axis in range(rank) if axis != 1}


def _trace(network: nn.Module, example: Tensor, dynamic: dict[int, Any]) -> Any:
    # the scan's body is compiled and kept: checking a kept one against sizes that are to stay open
    # would close them
    torch.compiler.reset()
    with prefer(_PORTABLE), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(network, (example,), dynamic_shapes=(dynamic,), strict=False)


def _runs(program: Any, x: Tensor) -> bool:
    try:
        with torch.no_grad():
            program.module()(x)
    except (AssertionError, RuntimeError):
        return False
    return True


def trials(*inputs: Tensor) -> list[Tensor]:
    """Each input at batch 1 and at batch 2."""
    return [x[:batch] for x in inputs for batch in (1, 2)]


def largest_difference(
    run: Callable[[Tensor], Tensor], network: nn.Module, inputs: Sequence[Tensor]
) -> float:
    """Between what a program and a network answer to some inputs.

    Raises:
        BadArgumentError: The answers have other shapes.
    """
    with torch.no_grad():
        pairs = [(run(x), network(x)) for x in inputs]
    if any(a.shape != b.shape for a, b in pairs):
        raise BadArgumentError("the program's logits have another shape than the network's.")
    return max(float((a - b).abs().max()) for a, b in pairs)


def _x(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
