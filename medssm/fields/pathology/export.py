"""Export: a model as a MONAI bundle, or a program from the features of a bag to its answer."""

from typing import Any

import torch
from torch import Tensor, nn

from medssm.bundle.case_programs import asked_folds, write_case_program
from medssm.fields.pathology.model_folder import TrainedModel, open_model
from medssm.runs.answer import Answer
from medssm.runs.field import ExportRequest

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
    model = open_model(request.model, asked_folds(request, "models of pathology"))
    module = MeanOfFolds(model).eval()
    size = (int(model.content["width"]), _TILES)
    facts = _facts(model, module.told)
    return write_case_program(request, module, size, "any_number_of_tiles", facts)


def _bundle(request: ExportRequest) -> Answer:
    from medssm.bundle.case_bundle import FoldBundleConfig, bundle_answer
    from medssm.fields.pathology.bundle import write_bundle

    def write(config: FoldBundleConfig) -> dict[str, Any]:
        model = open_model(request.model, config.folds)
        return write_bundle(model, request.output, request.embed, config)

    return bundle_answer(request, FoldBundleConfig, write)


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
