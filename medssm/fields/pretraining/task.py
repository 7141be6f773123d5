"""The task of masked pre-training: hidden cells from visible ones."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medssm.core.files import write_bytes
from medssm.layers.masking import visible_from_ids
from medssm.losses.masked_cells import CellLoss, masked_cell_loss, restored
from medssm.reports.reconstructions import reconstruction_png
from medssm.training.course import Course
from medssm.training.task import Learning, Task

PICTURES = "reconstructions"
HeldBack = tuple[str, Tensor, Tensor]


class PretrainingTask(Task):
    """Learns an encoder from images alone.

    Args:
        network: (B, C, *S) and its visible cells to the normalised image.
        learning: How it learns.
        grid: Cells of a crop.
        held_back: Name, image and visible cells of each validation crop.
        skip_constant: Leave constant cells out of the loss.
        folder: Where pictures go, one an epoch.
        pictures: Crops a picture.
    """

    monitor = "score"

    def __init__(
        self,
        network: nn.Module,
        learning: Learning,
        grid: Sequence[int],
        held_back: Sequence[HeldBack] = (),
        skip_constant: bool = True,
        folder: Path | None = None,
        pictures: int = 0,
    ) -> None:
        super().__init__(network, learning)
        self.grid, self.held_back = tuple(grid), tuple(held_back)
        self.skip_constant, self.folder, self.pictures = skip_constant, folder, pictures

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The masked loss, what predicting the mean would cost, and the share left out."""
        image = batch["image"]
        visible = visible_from_ids(batch["ids"], self.grid)
        cost = masked_cell_loss(
            self.network(image, visible), image, visible.cells, self.skip_constant
        )
        return {"loss": cost.loss, "baseline": cost.baseline, "skipped": cost.skipped}

    @torch.no_grad()
    def quick_validation(self) -> dict[str, float]:
        """Masked loss on held-back crops, its ratio to the baseline, and the score 1 - ratio."""
        if not self.held_back:
            return {}
        self.network.eval()
        costs: list[CellLoss] = []
        drawn: list[Any] = []
        try:
            for name, image, ids in self.held_back:
                x = image[None].to(self.device)
                visible = visible_from_ids(ids[None].to(self.device), self.grid)
                with self._precision():
                    made = self.network(x, visible)
                costs.append(masked_cell_loss(made, x, visible.cells, self.skip_constant))
                if len(drawn) < self.pictures:
                    drawn.append((name, x, visible, restored(made, x, visible.cells)))
        finally:
            self.network.train()
        self._draw(drawn)
        # a crop of constant cells alone says nothing
        told = [cost for cost in costs if float(cost.baseline) > 0]
        if not told:
            return {}
        loss = sum(float(cost.loss) for cost in told) / len(told)
        baseline = sum(float(cost.baseline) for cost in told) / len(told)
        skipped = sum(float(cost.skipped) for cost in costs) / len(costs)
        ratio = loss / baseline
        return {"score": 1 - ratio, "masked_loss": loss, "ratio": ratio, "skipped_cells": skipped}

    def _precision(self) -> Any:
        if self._trainer is None:
            return contextlib.nullcontext()
        plugin = self.trainer.precision_plugin
        return getattr(plugin, "forward_context", contextlib.nullcontext)()

    def _draw(self, drawn: Sequence[Any]) -> None:
        if self.folder is None or not drawn:
            return
        courses = [] if self._trainer is None else self.trainer.callbacks
        epoch = next((each.state.epoch for each in courses if isinstance(each, Course)), 0)
        png = reconstruction_png(
            [
                (name, x[0, 0].cpu().numpy(), visible.at(x.shape[2:])[0, ..., 0].cpu().numpy(),
                 made[0, 0].cpu().numpy())
                for name, x, visible, made in drawn
            ]
        )  # fmt: skip
        write_bytes(self.folder / PICTURES / f"epoch_{epoch:04d}.png", png)
