"""What trained networks say of bags: probabilities or risk, and the share of every tile."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssm.fields.pathology.bag_answer import BagAnswer, row_of, told
from medssm.fields.pathology.model_folder import FoldModel, TrainedModel
from medssm.fields.pathology.store import BagStore
from medssm.networks.bag_stream import read_rows


@torch.inference_mode()
def answer(model: FoldModel, features: Tensor, name: str, about: TrainedModel) -> BagAnswer:
    """Read one bag.

    Shape:
        features: (N, C), N above 0.
    """
    rows = features if model.standard is None else model.standard(features)
    return told(read_rows(model.network, rows), name, model.fold, about.kind)


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
