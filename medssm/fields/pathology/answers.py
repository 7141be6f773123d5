"""What trained networks say of bags: probabilities or risk, and the share of every tile."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssm.fields.pathology.model_folder import FoldModel, TrainedModel
from medssm.fields.pathology.store import BagStore
from medssm.losses.survival import survival_of
from medssm.networks.bag_stream import stream_bag
from medssm.networks.bags import BagOutput
from medssm.networks.mamba_mil import MambaMIL

STREAMED = 20_000
"""Tiles from which on MambaMIL reads a bag chunk by chunk."""


@dataclass(frozen=True)
class BagAnswer:
    """What one or several networks say of a bag.

    Args:
        name: The bag.
        fold: Of the network; -1 for the mean of several.
        probabilities: Of the classes, or hazards of the time bins; empty with Cox.
        risk: Higher is earlier; None for classes.
        attention: Share of each tile in the order of reading.

    Shape:
        probabilities: (K,), attention: (rows, N).
    """

    name: str
    fold: int
    probabilities: np.ndarray
    risk: float | None
    attention: np.ndarray = field(repr=False)


@torch.inference_mode()
def answer(model: FoldModel, features: Tensor, name: str, about: TrainedModel) -> BagAnswer:
    """Read one bag.

    Shape:
        features: (N, C), N above 0.
    """
    network = model.network
    rows = features if model.standard is None else model.standard(features)
    device = next(network.parameters()).device
    if isinstance(network, MambaMIL) and len(rows) > STREAMED:
        output = stream_bag(network, rows.to(device))
    else:
        output = network(rows[None].to(device))
    return _told(output, name, model.fold, about)


def _told(output: BagOutput, name: str, fold: int, about: TrainedModel) -> BagAnswer:
    logits = output.logits.float().cpu()
    attention = output.attention[0].float().cpu().numpy()
    if about.content["task"] == "classification":
        return BagAnswer(name, fold, logits.softmax(-1)[0].double().numpy(), None, attention)
    if about.cox:
        return BagAnswer(name, fold, np.zeros(0), float(logits[0, 0]), attention)
    said = survival_of(logits)
    return BagAnswer(name, fold, said.hazards[0].double().numpy(), float(said.risk), attention)


def answer_bags(
    model: FoldModel, store: BagStore, names: Sequence[str], about: TrainedModel
) -> list[BagAnswer]:
    """Read bags of a store one after another."""
    return [answer(model, store.features(name), name, about) for name in names]


def mean_answer(answers: Sequence[BagAnswer]) -> BagAnswer:
    """The mean of several networks: of probabilities or hazards, of risk, of attention."""
    first = answers[0]
    if len(answers) == 1:
        return first
    risks = [each.risk for each in answers if each.risk is not None]
    return BagAnswer(
        first.name,
        -1,
        np.mean([each.probabilities for each in answers], axis=0),
        float(np.mean(risks)) if risks else None,
        np.mean([each.attention for each in answers], axis=0),
    )


def rows_of(answers: Iterable[BagAnswer], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Answers as rows of a table."""
    return [row_of(each, classes) for each in answers]


def row_of(answer_: BagAnswer, classes: Sequence[str]) -> dict[str, Any]:
    """One answer as a row: predicted class and probabilities, or risk and hazards."""
    row: dict[str, Any] = {"bag": answer_.name, "fold": answer_.fold, "status": "done"}
    values: Mapping[str, float]
    if answer_.risk is None:
        row["predicted"] = classes[int(answer_.probabilities.argmax())]
        values = {f"p_{c}": v for c, v in zip(classes, answer_.probabilities, strict=True)}
    else:
        row["risk"] = answer_.risk
        values = {f"hazard_{i}": v for i, v in enumerate(answer_.probabilities)}
    return row | {name: float(value) for name, value in values.items()}
