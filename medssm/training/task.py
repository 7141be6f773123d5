"""What a field brings to the engine: a network, a loss, a quick validation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from medssm.core.errors import MachineError
from medssm.core.log import warn
from medssm.training.optimizers import OptimizerConfig, build_optimizer
from medssm.training.schedules import ScheduleConfig


@dataclass(frozen=True)
class Learning:
    """The numbers of the optimisation.

    Args:
        optimizer: Which optimiser.
        schedule: The learning rate over the run.
        clip_norm: Largest gradient norm; 0 leaves gradients as they are.
        max_bad_steps: Non-finite steps in a row before the run is given up.
    """

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    clip_norm: float = 12.0
    max_bad_steps: int = 20


class Task(LightningModule):
    """Base of the fields' tasks: a subclass gives `losses` and `quick_validation`.

    Args:
        network: What learns.
        learning: How it learns.
    """

    # the number of `quick_validation` that decides which weights are best; higher is better
    monitor = "score"

    def __init__(self, network: nn.Module, learning: Learning) -> None:
        super().__init__()
        self.network, self.learning = network, learning
        self.sums: dict[str, Tensor] = {}
        self.batches_summed = 0
        self.bad_steps = 0
        self.bad_steps_in_a_row = 0
        self.step_was_bad = False
        # beginnings of the names of parameters that keep their values in this step
        self.frozen: tuple[str, ...] = ()

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss of a batch under "loss", and any parts of it worth a curve."""
        raise NotImplementedError

    def quick_validation(self) -> dict[str, float]:
        """Numbers of the present weights on held-back data, `monitor` among them."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        return self.network(x)

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        """Loss of one batch; Lightning goes backward from it."""
        del batch_idx
        losses = self.losses(batch)
        for name, value in losses.items():
            part = value.detach().float()
            self.sums[name] = self.sums[name] + part if name in self.sums else part
        self.batches_summed += 1
        return losses["loss"]

    def take_means(self) -> dict[str, float]:
        """Mean losses since the last call, and begin anew."""
        count = max(1, self.batches_summed)
        means = {name: float(total) / count for name, total in self.sums.items()}
        self.sums, self.batches_summed = {}, 0
        return means

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimiser; the engine sets its learning rate each step."""
        return build_optimizer(self.learning.optimizer, self.network)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, and let a step with a non-finite one change nothing.

        Raises:
            MachineError: Too many such steps in a row.
        """
        del gradient_clip_val, gradient_clip_algorithm
        self._drop_gradients_of_frozen()
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        limit = self.learning.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        self.step_was_bad = not bool(torch.isfinite(norm))
        if not self.step_was_bad:
            self.bad_steps_in_a_row = 0
            return
        # an optimiser passes over parameters without a gradient
        optimizer.zero_grad(set_to_none=True)
        self.bad_steps += 1
        self.bad_steps_in_a_row += 1
        warn("non-finite gradients: step skipped (%d in a row).", self.bad_steps_in_a_row)
        if self.bad_steps_in_a_row >= self.learning.max_bad_steps:
            raise MachineError(
                f"the gradients were not finite for {self.bad_steps_in_a_row} steps in a row; "
                "the last checkpoint is from before. Take trainer.precision=32-true, or a lower "
                f"learning rate than optimizer.lr={self.learning.optimizer.lr:g}."
            )

    def _drop_gradients_of_frozen(self) -> None:
        """An optimiser passes over parameters without a gradient: no step, no decay, no average.

        They are dropped after the backward pass, since processes that train together exchange the
        gradients of the parameters that they began with.
        """
        if self.frozen:
            for name, parameter in self.network.named_parameters():
                if name.startswith(self.frozen):
                    parameter.grad = None

    def counters(self) -> dict[str, Any]:
        """What a checkpoint in the middle of an epoch must remember."""
        return {
            "sums": dict(self.sums),
            "batches_summed": self.batches_summed,
            "bad_steps": self.bad_steps,
            "bad_steps_in_a_row": self.bad_steps_in_a_row,
        }

    def load_counters(self, state: Mapping[str, Any]) -> None:
        """Take the counters of a checkpoint over."""
        self.sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self.batches_summed = state["batches_summed"]
        self.bad_steps = state["bad_steps"]
        self.bad_steps_in_a_row = state["bad_steps_in_a_row"]
