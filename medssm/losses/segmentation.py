"""Overlap plus cross-entropy, on MONAI's Dice, with nnU-Net's semantics."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

# nnU-Net's soft Dice adds this above and below the fraction
_SMOOTH = 1e-5


class DiceCE(nn.Module):
    """Cross-entropy over classes plus soft Dice over the foreground.

    Args:
        dice_weight: Weight of the overlap.
        ce_weight: Weight of the cross-entropy.
        batch_dice: Sum overlaps over the batch before dividing.
        ignore: Label value that neither part sees.
        smooth: Added above and below the fraction of the overlap.
        squared: Sum squares below the fraction, as TransUNet does.
        background: Whether the background is one of the overlaps.

    Shape:
        logits: (B, K, *S); target: (B, 1, *S) of label values; result: ().

    Source:
        Isensee et al., nnU-Net (2021); DiceLoss of MONAI.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        batch_dice: bool = False,
        ignore: int | None = None,
        smooth: float = _SMOOTH,
        squared: bool = False,
        background: bool = False,
    ) -> None:
        super().__init__()
        self.dice_weight, self.ce_weight, self.ignore = dice_weight, ce_weight, ignore
        self.first = 0 if background else 1
        self.dice = DiceLoss(
            batch=batch_dice, squared_pred=squared, smooth_nr=smooth, smooth_dr=smooth
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare logits with labels."""
        logits = logits.float()
        labels = target[:, 0].long()
        seen = None if self.ignore is None else (labels != self.ignore)
        if seen is not None:
            labels = labels * seen
        entropy = F.cross_entropy(logits, labels, reduction="none")
        truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1)[:, self.first :]
        guess = logits.softmax(1)[:, self.first :]
        if self.dice.squared_pred:
            truth = truth.to(guess.dtype)  # a norm is not taken of whole numbers
        if seen is None:
            overlap, mean = self.dice(guess, truth), entropy.mean()
        else:
            mask = seen[:, None]
            overlap = self.dice(guess * mask, truth * mask)
            mean = (entropy * seen).sum() / seen.sum().clamp_min(1)
        return self.dice_weight * overlap + self.ce_weight * mean


class DiceBCE(nn.Module):
    """Binary cross-entropy plus soft Dice over overlapping regions.

    Args:
        regions: The label values of every region, in the order of the network's channels.
        dice_weight: Weight of the overlap.
        ce_weight: Weight of the cross-entropy.
        batch_dice: Sum overlaps over the batch before dividing.
        ignore: Label value that neither part sees.

    Shape:
        logits: (B, K, *S); target: (B, 1, *S) of label values; result: ().

    Source:
        Isensee et al., nnU-Net (2021), region-based training.
    """

    def __init__(
        self,
        regions: Sequence[Sequence[int]],
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        batch_dice: bool = False,
        ignore: int | None = None,
    ) -> None:
        super().__init__()
        self.regions = [list(members) for members in regions]
        self.dice_weight, self.ce_weight, self.ignore = dice_weight, ce_weight, ignore
        self.dice = DiceLoss(batch=batch_dice, smooth_nr=_SMOOTH, smooth_dr=_SMOOTH)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare logits with labels."""
        logits = logits.float()
        labels = target[:, 0]
        truth = torch.stack(
            [torch.isin(labels, labels.new_tensor(members)) for members in self.regions], dim=1
        ).float()
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        guess = logits.sigmoid()
        if self.ignore is None:
            overlap, mean = self.dice(guess, truth), entropy.mean()
        else:
            mask = (labels != self.ignore)[:, None].float()
            overlap = self.dice(guess * mask, truth * mask)
            mean = (entropy * mask).sum() / (mask.sum() * len(self.regions)).clamp_min(1)
        return self.dice_weight * overlap + self.ce_weight * mean


def over_scales(loss: nn.Module, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
    """A loss over the outputs of deep supervision: half the weight a scale, summing to one.

    Args:
        loss: Of logits and target on one grid.
        outputs: Logits (B, K, *S), or a list of them, finest first.
        target: (B, 1, *S) on the finest grid; taken to coarser ones by the nearest voxel.

    Shape:
        result: ().
    """
    if isinstance(outputs, Tensor):
        return loss(outputs, target)
    weights = [0.5**scale for scale in range(len(outputs))]
    total = target.new_zeros((), dtype=torch.float32)
    for weight, logits in zip(weights, outputs, strict=True):
        size = logits.shape[2:]
        scaled = target if size == target.shape[2:] else _nearest(target, size)
        total = total + weight / sum(weights) * loss(logits, scaled)
    return total


def _nearest(target: Tensor, size: Sequence[int]) -> Tensor:
    scaled = F.interpolate(target.float(), size=tuple(size), mode="nearest-exact")
    return scaled.to(target.dtype)
