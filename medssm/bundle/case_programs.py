"""Programs and plain weights of networks that answer about whole cases, with a .json beside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from medssm.core.errors import MedssmError, UsageError
from medssm.core.files import atomic_path, write_json
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
from medssm.runs.field import ExportRequest

KINDS = ("pt2", "onnx", "safetensors")
TOLERANCE = 1e-3
"""Largest difference between the program's answer and the networks'."""


def asked_folds(request: ExportRequest, models: str) -> Any:
    """The folds that the user asks for, None for all.

    Args:
        request: What was asked.
        models: How to call the models of the field in a message.

    Raises:
        UsageError: Another kind, an unknown key, or a file that is there already.
    """
    wishes = parse_values(request.overrides)
    folds = wishes.pop("folds", None)
    if request.kind not in KINDS or request.embed or wishes:
        raise UsageError(
            f"--to {request.kind}: {models} are exported to bundle (with or without --embed), "
            f"{', '.join(KINDS)}; the last three take folds=[…] alone."
        )
    if request.output.exists() and not request.force:
        raise UsageError(f"{request.output}: is there already; name another, or take --force.")
    return folds


def write_case_program(
    request: ExportRequest,
    module: nn.Module,
    size: tuple[int, int],
    any_size: str,
    facts: Mapping[str, Any],
) -> Answer:
    """Write a module as the user asks for it, and what goes in and comes out beside it.

    Args:
        request: What was asked.
        module: The network, ready to be applied.
        size: Channels, and the length that the program is traced with.
        any_size: What is told of a program that takes other lengths too, such as "any_length".
        facts: What else is told.

    Raises:
        MedssmError: The program answers otherwise than the networks; it is not kept.
    """
    told: dict[str, Any] = {**facts, "kind": request.kind, "file": str(request.output)}
    if request.kind == "safetensors":
        with atomic_path(request.output) as partial:
            save_file({k: v.contiguous() for k, v in module.state_dict().items()}, partial)
    else:
        told |= _write(module, size, any_size, request.output, request.kind)
    beside = request.output.with_name(f"{request.output.name}.json")
    write_json(beside, told)
    # what has parts of its own stands in the file alone
    lines = [
        f"{name}: {value}"
        for name, value in told.items()
        if not (isinstance(value, list) and value and isinstance(value[0], Mapping))
    ]
    return Answer(told, lines, [request.output, beside])


def _write(
    module: nn.Module, size: tuple[int, int], any_size: str, file: Path, kind: str
) -> dict[str, Any]:
    from medssm.bundle.programs import portable_program, write_onnx, write_program

    with torch.no_grad():
        made = portable_program(module, size[0], (size[1],))
        difference = made.largest_difference
        if kind == "onnx":
            difference = write_onnx(made, module, file)
        else:
            write_program(made, file)
    if not difference <= TOLERANCE:
        file.unlink()
        raise MedssmError(
            f"{file}: the program's answers differ from the networks' by {difference:.1e}; "
            f"expected at most {TOLERANCE:g}. It is not kept."
        )
    return {any_size: made.any_size, "largest_difference": float(difference)}
