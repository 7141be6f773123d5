"""nnU-Net's trainer with our optimiser, schedule and number format.

    export nnUNet_extTrainer=THIS_FOLDER
    nnUNetv2_train DATASET CONFIGURATION FOLD -p PLANS -tr nnUNetTrainerMedSSM

`medssm export plans` names the folder and writes the recipe into the plans. Prediction does not
need the variable.
"""

import os
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn
from torch._dynamo import OptimizedModule
from torch.optim import Optimizer

from medssm.core.errors import MedssmError
from medssm.core.files import atomic_path
from medssm.fields.segmentation.nnunet.checkpoint import nnunet_checkpoint
from medssm.fields.segmentation.nnunet.recipe import RateSchedule, recipe_of
from medssm.training.devices import keep_freed_memory
from medssm.training.optimizers import build_optimizer

# nnU-Net validates 50 times for 250 steps
_STEPS_A_VALIDATION = 5


class nnUNetTrainerMedSSM(nnUNetTrainer):  # noqa: N801 (nnU-Net finds trainers by such names)
    """The stock trainer but for the step: bfloat16 or float32, our optimiser, a rate a step.

    Args:
        plans: With the recipe of `medssm export plans`; defaults without it.
        configuration: Name of the configuration.
        fold: Number of the fold, or "all".
        dataset_json: The data set's dataset.json.
        device: Where to train.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 (as nnU-Net's own)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.recipe = recipe_of(plans)
        if self.recipe.max_epochs:
            self.num_epochs = self.recipe.max_epochs
        if self.recipe.steps_per_epoch:
            self.num_iterations_per_epoch = self.recipe.steps_per_epoch
            steps = self.num_iterations_per_epoch // _STEPS_A_VALIDATION
            self.num_val_iterations_per_epoch = max(1, steps)
        self.initial_lr = self.recipe.optimizer.lr
        self.weight_decay = self.recipe.optimizer.weight_decay
        # float32 and bfloat16 do not underflow
        self.grad_scaler = None
        self._bad_steps = 0
        self._settle()

    def _settle(self) -> None:
        """Number format and threads of this process, which is the trainer's own."""
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            torch.set_autocast_dtype("cuda", torch.bfloat16)
        if self.device.type == "cpu":
            # nnU-Net takes a thread for every core of the machine, whoever else may use them
            torch.set_num_threads(self.recipe.threads or _own_cores())
            keep_freed_memory()

    def configure_optimizers(self) -> tuple[Optimizer, RateSchedule]:
        """Our optimiser, and a schedule that knows every step."""
        optimizer = build_optimizer(self.recipe.optimizer, self.network)
        steps = self.num_iterations_per_epoch
        return optimizer, RateSchedule(optimizer, self.recipe, self.num_epochs, steps)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step; gradients that are not finite are dropped, too many of them end the run.

        Raises:
            MedssmError: Too many such steps in a row.
        """
        data = batch["data"].to(self.device, non_blocking=True)
        target = _to(batch["target"], self.device)
        self.lr_scheduler.advance()
        self.optimizer.zero_grad(set_to_none=True)
        # on CPU and MPS nnU-Net computes in float32, and so does this
        half = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            output = self.network(data)
        loss = self.loss(_float(output), target)
        loss.backward()
        parameters = [each for each in self.network.parameters() if each.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm or float("inf"))
        if torch.isfinite(norm):
            self.optimizer.step()
            self._bad_steps = 0
        else:
            self._note_bad_step()
        return {"loss": loss.detach().cpu().numpy()}

    def _note_bad_step(self) -> None:
        self._bad_steps += 1
        self.print_to_log_file("gradients that are not finite: this step is left out")
        if self._bad_steps >= self.recipe.max_bad_steps:
            raise MedssmError(
                f"{self._bad_steps} steps in a row had gradients that are not finite; expected "
                "numbers. Take a lower rate, e.g. optimizer.lr=0.0003, and export the plans again."
            )

    def save_checkpoint(self, filename: str) -> None:
        """Write the file whole or not at all, so that stock nnU-Net predicts with it."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        network = self.network.module if self.is_ddp else self.network
        network = network._orig_mod if isinstance(network, OptimizedModule) else network
        content = nnunet_checkpoint(
            network.state_dict(),
            self.my_init_kwargs,
            self.inference_allowed_mirroring_axes,
            optimizer=self.optimizer.state_dict(),
            logging=self.logger.get_checkpoint(),
            epoch=self.current_epoch + 1,
            best=self._best_ema,
        )
        with atomic_path(Path(filename)) as partial:
            torch.save(content, partial)


def _own_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _to(target: Any, device: torch.device) -> Any:
    if isinstance(target, list):
        return [each.to(device, non_blocking=True) for each in target]
    return target.to(device, non_blocking=True)


def _float(output: Any) -> Any:
    return [each.float() for each in output] if isinstance(output, list) else output.float()
