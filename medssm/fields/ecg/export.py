"""Export: a model as a MONAI bundle, or a program from windows in mV to probabilities."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medssm.core.errors import UsageError
from medssm.core.files import atomic_path, write_json
from medssm.fields.ecg.model_folder import TrainedModel, open_model
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
from medssm.runs.field import ExportRequest

_KINDS = ("pt2", "onnx", "safetensors")


class CalibratedMean(nn.Module):
    """The folds' networks with their calibrations, and the mean of their probabilities.

    Shape:
        x: (B, 12, T) prepared as the plan says, result (B, K).
    """

    divisors = (1,)

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.networks = nn.ModuleList(model.load(file) for file in model.weights.values())
        rows = model.calibrations()
        for name in ("slope", "shift"):
            values = torch.stack([torch.from_numpy(getattr(row, name)) for row in rows])
            self.register_buffer(name, values.float())

    def forward(self, x: Tensor) -> Tensor:
        """Calibrate each network's logits, average the probabilities."""
        slope, shift = (self.get_buffer(name) for name in ("slope", "shift"))
        parts = [
            torch.sigmoid(network(x) * slope[index] + shift[index])
            for index, network in enumerate(self.networks)
        ]
        return torch.stack(parts).mean(0)


def export(request: ExportRequest) -> Answer:
    """Write a model as a bundle, .pt2, ONNX or plain weights, these with a .json beside them.

    Raises:
        UsageError: Another kind, or a network that takes age and sex.
    """
    if request.kind == "bundle":
        return _bundle(request)
    wishes = parse_values(request.overrides)
    folds = wishes.pop("folds", None)
    if request.kind not in _KINDS or request.embed or wishes:
        raise UsageError(
            f"--to {request.kind}: models of electrocardiograms are exported to bundle (with or "
            f"without --embed), {', '.join(_KINDS)}; the last three take folds=[…] alone."
        )
    model = open_model(request.model, folds)
    module = CalibratedMean(model).eval()
    facts: dict[str, Any] = _facts(model) | {"kind": request.kind, "file": str(request.output)}
    if request.kind == "safetensors":
        with atomic_path(request.output) as partial:
            save_file(module.state_dict(), partial)
    else:
        facts |= _write(module, model, request.output, request.kind)
    beside = request.output.with_name(f"{request.output.name}.json")
    write_json(beside, facts)
    lines = [f"{name}: {value}" for name, value in facts.items() if name != "classes"]
    return Answer(facts, lines, [request.output, beside])


def _bundle(request: ExportRequest) -> Answer:
    from medssm.bundle.case_bundle import FoldBundleConfig, bundle_answer
    from medssm.fields.ecg.bundle import write_bundle

    def write(config: FoldBundleConfig) -> dict[str, Any]:
        model = open_model(request.model, config.folds)
        return write_bundle(model, request.output, request.embed, config)

    return bundle_answer(request, FoldBundleConfig, write)


def _write(module: nn.Module, model: TrainedModel, file: Path, kind: str) -> dict[str, Any]:
    from medssm.bundle.programs import portable_program, write_onnx, write_program

    with torch.no_grad():
        made = portable_program(module, len(model.plan.leads), (model.plan.length,))
        if kind == "onnx":
            difference = write_onnx(made, module, file)
        else:
            write_program(made, file)
            difference = made.largest_difference
    return {"any_length": made.any_size, "largest_difference": float(difference)}


def _facts(model: TrainedModel) -> dict[str, Any]:
    plan = model.plan
    names = ("rate_hz", "scale", "clip_mv", "bandpass_hz", "notch_hz")
    return {
        "takes": f"(batch, {len(plan.leads)}, {plan.length}) float32, each lead less its median",
        "gives": f"(batch, {len(plan.classes)}) calibrated probabilities",
        "leads": list(plan.leads),
        **{name: getattr(plan, name) for name in names},
        "classes": [
            {"snomed": each.code, "abbreviation": each.abbreviation, "threshold": float(cut)}
            for each, cut in zip(plan.classes, model.decision.thresholds, strict=True)
        ],
    }
