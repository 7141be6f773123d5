"""Losses of many findings at once, of which some may be unknown for a record."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.core.errors import UsageError


@dataclass(frozen=True)
class MultilabelConfig:
    """Binary cross-entropy of every class, or its asymmetric form.

    Args:
        gamma_positive: Focus on the hard positives; 0 leaves the cross-entropy.
        gamma_negative: Focus on the hard negatives; the published setting is 2 to 4.
        margin: Probability that a negative may have for free (asymmetric loss, 0.05 there).
        balanced: Weigh classes by their effective number of records.

    Source:
        Ridnik et al., "Asymmetric loss for multi-label classification", 2021; Cui et al.,
        "Class-balanced loss based on effective number of samples", 2019.
    """

    gamma_positive: float = 0.0
    gamma_negative: float = 0.0
    margin: float = 0.0
    balanced: bool = False

    def __post_init__(self) -> None:
        for name in ("gamma_positive", "gamma_negative"):
            if getattr(self, name) < 0:
                raise UsageError(f"loss.{name}={getattr(self, name)}: expected 0 or more.")
        if not 0 <= self.margin < 1:
            raise UsageError(f"loss.margin={self.margin}: expected 0 to below 1.")


def multilabel_loss(
    logits: Tensor,
    target: Tensor,
    known: Tensor,
    config: MultilabelConfig,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean over what is known of -y (1 - p)^a log p - (1 - y) q^b log(1 - q), q = max(p - m, 0).

    Args:
        logits: One a class.
        target: 0 to 1; between them for mixed records.
        known: 1 where the source of the record annotates the class, else 0.
        config: Exponents a and b, and the margin m.
        class_weights: Weight of each class.

    Shape:
        logits, target, known: (B, K), class_weights: (K,), result ().
    """
    logits = logits.float()
    if config.gamma_positive == config.gamma_negative == config.margin == 0:
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    else:
        each = _asymmetric(logits, target, config)
    weights = known if class_weights is None else known * class_weights
    return (each * weights).sum() / weights.sum().clamp(min=1)


def _asymmetric(logits: Tensor, target: Tensor, config: MultilabelConfig) -> Tensor:
    chance = torch.sigmoid(logits)
    missed = -F.logsigmoid(logits) * (1 - chance) ** config.gamma_positive
    if config.margin:
        shifted = (chance - config.margin).clamp(min=0)
        raised = -torch.log1p(-shifted.clamp(max=1 - 1e-6)) * shifted**config.gamma_negative
    else:
        raised = -F.logsigmoid(-logits) * chance**config.gamma_negative
    return target * missed + (1 - target) * raised


def effective_weights(positives: Tensor, records: int) -> Tensor:
    """(1 - b) / (1 - b^n) of each class with b = 1 - 1/records, of mean one.

    Shape:
        positives: (K,), result (K,).
    """
    beta = 1 - 1 / max(2, records)
    numbers = (1 - beta ** positives.double().clamp(min=1)) / (1 - beta)
    weights = 1 / numbers
    return (weights / weights.mean()).to(torch.float32)
