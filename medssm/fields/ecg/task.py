"""The task: many findings at once, those that a source never looked for left out."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medssm.losses.multilabel import MultilabelConfig, multilabel_loss
from medssm.metrics.challenge import finite_mean, precision_area, roc_area
from medssm.training.task import Learning, Task

_BATCH = 64


class EcgTask(Task):
    """Learns findings from windows.

    Args:
        network: (B, 12, T) to logits (B, K).
        learning: How it learns.
        loss: Which.
        class_weights: Weight of each class in it.
        held_back: Signals, about, targets and known of the validation's first windows.
    """

    monitor = "auprc"

    def __init__(
        self,
        network: nn.Module,
        learning: Learning,
        loss: MultilabelConfig,
        class_weights: Tensor | None = None,
        held_back: Sequence[Tensor] = (),
    ) -> None:
        super().__init__(network, learning)
        self.loss, self.class_weights, self.held_back = loss, class_weights, tuple(held_back)

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss of a batch of windows."""
        logits = self.network(batch["signal"], batch["about"])
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return {
            "loss": multilabel_loss(logits, batch["target"], batch["known"], self.loss, weights)
        }

    @torch.no_grad()
    def quick_validation(self) -> dict[str, float]:
        """Macro AUROC and AUPRC over the first windows of the held-back records."""
        if not self.held_back or not len(self.held_back[0]):
            return {}
        signals, about, targets, known = self.held_back
        self.network.eval()
        precision = getattr(
            self.trainer.precision_plugin, "forward_context", contextlib.nullcontext
        )
        try:
            with precision():
                logits = [
                    self.network(x.to(self.device), a.to(self.device)).float().cpu()
                    for x, a in _pairs(signals, about)
                ]
        finally:
            self.network.train()
        return macro_areas(torch.cat(logits).numpy(), targets.numpy(), known.numpy())


def _pairs(signals: Tensor, about: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(signals, _BATCH), torch.split(about, _BATCH), strict=True)


def macro_areas(scores: np.ndarray, targets: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Mean AUROC and AUPRC over the classes, each among the records that know it.

    Shape:
        scores, targets, known: (N, K).
    """
    areas = []
    for index in range(scores.shape[1]):
        seen = known[:, index] > 0
        truth, values = targets[seen, index] > 0, scores[seen, index]
        areas.append((roc_area(truth, values), precision_area(truth, values)))
    table = np.array(areas)
    found = {"auroc": finite_mean(table[:, 0]), "auprc": finite_mean(table[:, 1])}
    return {name: value for name, value in found.items() if np.isfinite(value)}
