"""Export: a model as a MONAI bundle, or a program from the features of a bag to its answer."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medssm.core.errors import MedssmError, UsageError
from medssm.core.files import atomic_path, write_json
from medssm.fields.pathology.model_folder import TrainedModel, open_model
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
from medssm.runs.field import ExportRequest

KINDS = ("pt2", "onnx", "safetensors")
# largest difference between the program's answer and the networks'
TOLERANCE = 1e-3
# tiles of the bag that a program is traced with
_TILES = 64


class MeanOfFolds(nn.Module):
    """The folds' networks and the mean of what they say: probabilities, hazards or a risk.

    Args:
        model: The model; its folds are averaged.

    Shape:
        x: (B, C, N), the features of N tiles in the order of the model; result (B, K).
    """

    divisors = (1,)

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        folds = [model.network(fold) for fold in model.weights]
        self.networks = nn.ModuleList(each.network for each in folds)
        self.standards = [each.standard for each in folds]
        self.told: str = model.kind

    def forward(self, x: Tensor) -> Tensor:
        """Answer whole bags."""
        bags = x.transpose(1, 2)
        parts = []
        for network, standard in zip(self.networks, self.standards, strict=True):
            logits = network(bags if standard is None else standard(bags)).logits
            if self.told == "classification":
                logits = logits.softmax(-1)
            elif self.told == "survival":
                logits = torch.sigmoid(logits)
            parts.append(logits)
        return torch.stack(parts).mean(0)


def export(request: ExportRequest) -> Answer:
    """Write a model as a bundle, .pt2, ONNX or plain weights, these with a .json beside them.

    Raises:
        UsageError: Another kind, an unknown key, or a file that is there already.
        MedssmError: The program answers otherwise than the networks; it is not kept.
    """
    if request.kind == "bundle":
        return _bundle(request)
    wishes = parse_values(request.overrides)
    folds = wishes.pop("folds", None)
    if request.kind not in KINDS or request.embed or wishes:
        raise UsageError(
            f"--to {request.kind}: models of pathology are exported to bundle (with or without "
            f"--embed), {', '.join(KINDS)}; the last three take folds=[…] alone."
        )
    if request.output.exists() and not request.force:
        raise UsageError(f"{request.output}: is there already; name another, or take --force.")
    model = open_model(request.model, folds)
    module = MeanOfFolds(model).eval()
    facts: dict[str, Any] = _facts(model, module.told) | {"kind": request.kind}
    if request.kind == "safetensors":
        with atomic_path(request.output) as partial:
            save_file({k: v.contiguous() for k, v in module.state_dict().items()}, partial)
    else:
        facts |= _write(module, int(model.content["width"]), request.output, request.kind)
    beside = request.output.with_name(f"{request.output.name}.json")
    write_json(beside, facts)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    return Answer(facts, lines, [request.output, beside])


def _bundle(request: ExportRequest) -> Answer:
    from medssm.bundle.case_bundle import FoldBundleConfig, bundle_answer
    from medssm.fields.pathology.bundle import write_bundle

    def write(config: FoldBundleConfig) -> dict[str, Any]:
        model = open_model(request.model, config.folds)
        return write_bundle(model, request.output, request.embed, config)

    return bundle_answer(request, FoldBundleConfig, write)


def _write(module: nn.Module, width: int, file: Path, kind: str) -> dict[str, Any]:
    from medssm.bundle.programs import portable_program, write_onnx, write_program

    with torch.no_grad():
        made = portable_program(module, width, (_TILES,))
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
    return {"any_number_of_tiles": made.any_size, "largest_difference": float(difference)}


def _facts(model: TrainedModel, told: str) -> dict[str, Any]:
    content = model.content
    gives = {
        "classification": "probabilities of the classes",
        "survival": "hazards of the time bins",
        "risk": "one relative risk; higher is earlier",
    }
    return {
        "takes": f"(batch, {content['width']}, tiles) float32: features, in the order of the model",
        "gives": gives[told],
        "encoder": content["encoder"],
        "order": content.get("order"),
        "classes": list(content["classes"]),
        "folds": list(model.weights),
    }
