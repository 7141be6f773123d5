"""Export: a model as a MONAI bundle, or a program from windows in mV to probabilities."""

from typing import Any

import torch
from torch import Tensor, nn

from medssm.bundle.case_programs import asked_folds, write_case_program
from medssm.fields.ecg.model_folder import TrainedModel, open_model
from medssm.runs.answer import Answer
from medssm.runs.field import ExportRequest


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
        UsageError: Another kind, an unknown key, or a file that is there already.
        MedssmError: The program answers otherwise than the networks; it is not kept.
    """
    if request.kind == "bundle":
        return _bundle(request)
    model = open_model(request.model, asked_folds(request, "models of electrocardiograms"))
    module = CalibratedMean(model).eval()
    size = (len(model.plan.leads), model.plan.length)
    return write_case_program(request, module, size, "any_length", _facts(model))


def _bundle(request: ExportRequest) -> Answer:
    from medssm.bundle.case_bundle import FoldBundleConfig, bundle_answer
    from medssm.fields.ecg.bundle import write_bundle

    def write(config: FoldBundleConfig) -> dict[str, Any]:
        model = open_model(request.model, config.folds)
        return write_bundle(model, request.output, request.embed, config)

    return bundle_answer(request, FoldBundleConfig, write)


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
