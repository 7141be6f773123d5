"""The task of bags: classes or survival, and a quick look at the bags that validate."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.fields.pathology.train_config import LossConfig
from medssm.losses.survival import cox, discrete_cross_entropy, discrete_nll, survival_of
from medssm.metrics.bags import classification_scores
from medssm.metrics.survival import concordance
from medssm.networks.bags import BagNetwork, BagOutput
from medssm.training.task import Learning, Task

Loss = Callable[[Tensor, Mapping[str, Tensor]], Tensor]


def build_loss(config: LossConfig, task: str) -> Loss:
    """The loss of a batch from logits and answers.

    Raises:
        UsageError: The loss belongs to another task.
    """
    chosen = config.chosen(task)
    if chosen == "cross_entropy":
        return lambda logits, batch: F.cross_entropy(
            logits, batch["labels"], label_smoothing=config.smoothing
        )
    if chosen == "cox":
        return lambda logits, batch: cox(
            logits[:, 0], batch["months"], batch["censored"], config.ties
        )
    discrete = discrete_nll if chosen == "nll" else discrete_cross_entropy
    return lambda logits, batch: discrete(
        survival_of(logits).hazards, batch["bins"], batch["censored"], config.alpha
    ).mean()


def risk_of(logits: Tensor, cox_loss: bool) -> Tensor:
    """Higher is earlier: theta of Cox, minus the sum of the survival elsewhere.

    Shape:
        logits: (B, K), result (B,).
    """
    return logits[:, 0] if cox_loss else survival_of(logits).risk


class BagTask(Task):
    """Learns what bags are.

    Args:
        network: Bags to `BagOutput`.
        learning: How it learns.
        objective: The loss.
        task: "classification" or "survival".
        held_back: Batches that validate.
    """

    def __init__(
        self,
        network: BagNetwork,
        learning: Learning,
        objective: LossConfig,
        task: str,
        held_back: Sequence[Mapping[str, Tensor]] = (),
    ) -> None:
        super().__init__(network, learning)
        self.loss = build_loss(objective, task)
        self.kind, self.held_back = task, tuple(held_back)
        self.cox = objective.chosen(task) == "cox"
        self.instance_weight = float(getattr(network, "instance_weight", 0.0))

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss of a batch; CLAM adds that of its instances."""
        bags, lengths = batch["bags"], batch["lengths"]
        if not self.instance_weight:
            output: BagOutput = self.network(bags, lengths)
            return {"loss": self.loss(output.logits, batch)}
        weight = self.instance_weight
        with_instances: Any = self.network.with_instance_loss
        output, of_instances = with_instances(bags, lengths, batch["labels"])
        of_bags = self.loss(output.logits, batch)
        total = (1 - weight) * of_bags + weight * of_instances
        return {"loss": total, "bag_loss": of_bags, "instance_loss": of_instances}

    @torch.no_grad()
    def quick_validation(self) -> dict[str, float]:
        """Loss and area (or concordance) of the held-back bags; lower loss is the better score."""
        if not self.held_back:
            return {}
        self.network.eval()
        try:
            parts = [
                self.network(batch["bags"].to(self.device), batch["lengths"].to(self.device))
                for batch in self.held_back
            ]
        finally:
            self.network.train()
        logits = torch.cat([part.logits.float().cpu() for part in parts])
        names = ("labels", "bins", "months", "censored")
        truth = {name: torch.cat([batch[name] for batch in self.held_back]) for name in names}
        loss = float(self.loss(logits, truth))
        if self.kind == "classification":
            found = classification_scores(truth["labels"].tolist(), logits.softmax(-1).numpy())
            shown = {name: found.values[name] for name in ("auc", "accuracy")}
            return _known({"score": -loss, "val_loss": loss, **shown})
        risk = risk_of(logits, self.cox).numpy()
        seen = truth["censored"].numpy() == 0
        value = concordance(truth["months"].numpy(), risk, seen)
        # the recipe of survival chooses by concordance; a fold without pairs by its loss
        score = value if np.isfinite(value) else -loss
        return _known({"score": score, "val_loss": loss, "c_index": value})


def _known(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if np.isfinite(value)}
