"""A network as TorchScript, for old servers: deprecated by PyTorch, and not for scans."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from medssm.bundle.programs import examples, largest_difference, trials
from medssm.core.errors import UsageError
from medssm.core.files import atomic_path
from medssm.ops.backends import prefer


def write_torchscript(
    network: nn.Module, channels: int, size: Sequence[int], file: Path
) -> tuple[float, bool]:
    """Trace a network into a file for torch.jit.load, and try it.

    Returns:
        The largest difference between its logits and the network's, over two sizes and two
        batches where it takes any size; and whether it does.

    Raises:
        UsageError: The network scans; a trace would hold operators of medssm, or one length.
    """
    network = network.cpu().eval()
    divisors = tuple(getattr(network, "divisors", (1,) * len(size)))
    example, other = examples(channels, tuple(size), divisors)
    # PyTorch warns of its own deprecation, and of every shape that Python reads
    with warnings.catch_warnings(), torch.no_grad(), prefer("portable,reference"):
        warnings.simplefilter("ignore")
        script = _traced(network, example)
        any_size = _same(script, network, other)
        inputs = trials(example, other)
        if not any_size:
            example = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
            script, inputs = _traced(network, example), trials(example)
        loaded = _through_a_file(script, file)
        with prefer("auto"):
            return largest_difference(loaded, network, inputs), any_size


def open_torchscript(file: Path) -> Callable[[Tensor], Tensor]:
    """Run a file of TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cast("Callable[[Tensor], Tensor]", torch.jit.load(str(file)))  # type: ignore[no-untyped-call]


def _through_a_file(script: torch.jit.ScriptModule, file: Path) -> torch.jit.ScriptModule:
    with atomic_path(file) as partial:
        torch.jit.save(script, str(partial))
        return torch.jit.load(str(partial))  # type: ignore[no-untyped-call]


def _traced(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    try:
        return torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise UsageError(
            f"{type(network).__name__} cannot become TorchScript: its scans are loops over as many "
            "steps as the image has voxels, which a trace cannot hold. Take --to pt2, which "
            "torch.export.load reads wherever torch is, or --to onnx."
        ) from error


def _same(script: torch.jit.ScriptModule, network: nn.Module, x: Tensor) -> bool:
    try:
        found = script(x)
    except RuntimeError:
        return False
    true = network(x)
    return found.shape == true.shape and bool(torch.allclose(found, true, atol=1e-3))
