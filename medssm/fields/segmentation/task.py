"""The task of segmentation: a loss over patches, and a quick Dice on held-back ones."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medssm.data.labels import Labels
from medssm.losses.segmentation import over_scales
from medssm.training.task import Learning, Task


class SegmentationTask(Task):
    """Learns label maps from images.

    Args:
        network: (B, C, *S) to logits (B, K, *S), or a list of them while training.
        learning: How it learns.
        loss: Of logits and label values.
        labels: What the values mean.
        held_back: Image and label map of each validation patch.
    """

    monitor = "dice"

    def __init__(
        self,
        network: nn.Module,
        learning: Learning,
        loss: nn.Module,
        labels: Labels,
        held_back: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        super().__init__(network, learning)
        self.loss, self.labels, self.held_back = loss, labels, tuple(held_back)

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss of a batch of patches."""
        image = batch["image"]
        return {"loss": over_scales(self.loss, self.network(image), batch["target"])}

    @torch.no_grad()
    def quick_validation(self) -> dict[str, float]:
        """Dice over all held-back patches together, by label (nnU-Net's pseudo Dice)."""
        if not self.held_back:
            return {}
        self.network.eval()
        hits = dict.fromkeys(self.labels.foreground, 0.0)
        sizes = dict.fromkeys(self.labels.foreground, 0.0)
        try:
            for image, label in self.held_back:
                self._count(image, label, hits, sizes)
        finally:
            self.network.train()
        scores = {f"dice_{name}": 2 * hits[name] / sizes[name] for name in hits if sizes[name] > 0}
        if not scores:
            return {}
        return {"dice": sum(scores.values()) / len(scores), **scores}

    def _count(
        self, image: Tensor, label: Tensor, hits: dict[str, float], sizes: dict[str, float]
    ) -> None:
        precision = getattr(
            self.trainer.precision_plugin, "forward_context", contextlib.nullcontext
        )
        with precision():
            logits = self.network(image[None].to(self.device))
        logits = logits[0].float().cpu()
        seen = torch.ones_like(label[0], dtype=torch.bool)
        if self.labels.ignore is not None:
            seen = label[0] != self.labels.ignore
        regions = self.labels.has_regions
        guess = logits > 0 if regions else logits.argmax(0)
        for index, name in enumerate(self.labels.foreground):
            members = torch.tensor(self.labels.members(name), dtype=label.dtype)
            truth = torch.isin(label[0], members) & seen
            mine = (guess[index] if regions else torch.isin(guess.to(label.dtype), members)) & seen
            hits[name] += float((truth & mine).sum())
            sizes[name] += float(truth.sum() + mine.sum())
