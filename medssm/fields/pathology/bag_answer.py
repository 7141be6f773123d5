"""What is said of one bag, from the logits of a network to a row of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from medssm.losses.survival import survival_of
from medssm.networks.bags import BagOutput

Kind = Literal["classification", "survival", "risk"]


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


def told(output: BagOutput, name: str, fold: int, kind: Kind) -> BagAnswer:
    """An answer from what a network gives for one bag.

    Args:
        output: Of a batch of one bag.
        name: The bag.
        fold: Of the network.
        kind: What the logits mean: classes, hazards of time bins, or one relative risk.
    """
    logits = output.logits.float().cpu()
    attention = output.attention[0].float().cpu().numpy()
    if kind == "classification":
        return BagAnswer(name, fold, logits.softmax(-1)[0].double().numpy(), None, attention)
    if kind == "risk":
        return BagAnswer(name, fold, np.zeros(0), float(logits[0, 0]), attention)
    said = survival_of(logits)
    return BagAnswer(name, fold, said.hazards[0].double().numpy(), float(said.risk), attention)


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
