"""What a bundle of bags learns and is measured by, where MONAI has nothing for it."""

from typing import Any, Literal

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor, nn

from medssm.losses.survival import discrete_cross_entropy, discrete_nll, survival_of
from medssm.metrics.survival import concordance


class SurvivalLoss(nn.Module):
    """Discrete-time survival.

    Args:
        name: "nll", or "hazards" for the cross-entropy of surviving the bin.

    Shape:
        logits: (B, bins), label: (B, 3) bin, censored and months; result ().
    """

    def __init__(self, name: Literal["nll", "hazards"] = "nll") -> None:
        super().__init__()
        self.loss = discrete_nll if name == "nll" else discrete_cross_entropy

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The mean over the bags."""
        bins, censored = label[:, 0].long(), label[:, 1]
        return self.loss(survival_of(logits).hazards, bins, censored).mean()


class Concordance(CumulativeIterationMetric):
    """Harrell's concordance of risks and times.

    Shape:
        y_pred: (B, 1), y: (B, 3) bin, censored and months.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: Any) -> Tensor:
        assert y is not None
        return torch.cat([y_pred.double(), y.to(y_pred.device).double()], dim=1)

    def aggregate(self) -> float:
        """Over all bags so far that have an answer."""
        seen = self.get_buffer().cpu()
        risk, _, censored, months = seen[torch.isfinite(seen).all(1)].T.numpy()
        return float(concordance(months, risk, censored == 0))
