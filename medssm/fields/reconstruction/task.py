"""The task of reconstruction: a loss over magnitude images, or over samples that were hidden."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medssm.metrics.reconstruction import fastmri, foreground
from medssm.mri.coils import rss
from medssm.mri.fourier import ifft2
from medssm.training.task import Learning, Task

_BATCH_AXES = 5


class ReconstructionTask(Task):
    """Learns images from undersampled k-space.

    A batch with "target" is judged by its image; one with "hidden" by the acquired samples that
    its input does not hold.

    Args:
        network: Masked k-space, mask and maps to k-space.
        learning: How it learns.
        loss: Of two magnitude images.
        centred: Where the origin of k-space lies.
        held_back: Samples of the validation.
    """

    def __init__(
        self,
        network: nn.Module,
        learning: Learning,
        loss: nn.Module,
        centred: bool = True,
        held_back: Sequence[Mapping[str, Tensor]] = (),
    ) -> None:
        super().__init__(network, learning)
        self.loss, self.centred = loss, centred
        self.held_back = tuple(held_back)

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss of a batch of slices."""
        kspace = self._run(batch)
        if "hidden" in batch:
            return {"loss": hidden_loss(kspace, batch["known"], batch["hidden"])}
        image, target = rss(ifft2(kspace, self.centred)), batch["target"]
        if "crop" in batch:
            image, target = (centre(each, batch["crop"][0].tolist()) for each in (image, target))
        return {"loss": self.loss(image, target)}

    @torch.no_grad()
    def quick_validation(self) -> dict[str, float]:
        """FastMRI's figures of every held-back slice (or run of them), or the hidden error."""
        if not self.held_back:
            return {}
        self.network.eval()
        try:
            found = [self._judged(sample) for sample in self.held_back]
        finally:
            self.network.train()
        means = {name: sum(each[name] for each in found) / len(found) for name in found[0]}
        # the higher the better, whichever figure there is
        return {"score": means.get("ssim", 1 - means.get("withheld_error", 0.0)), **means}

    def _judged(self, sample: Mapping[str, Tensor]) -> dict[str, float]:
        # a run of neighbouring slices is a batch already
        run = sample["masked"].ndim == _BATCH_AXES
        batch = {name: (each if run else each[None]).to(self.device)
                 for name, each in sample.items()}  # fmt: skip
        kspace = self._run(batch)
        if "hidden" in batch:
            error = withheld_error(kspace, batch["known"], batch["hidden"])
            return {"withheld_error": float(error)}
        image, target = rss(ifft2(kspace, self.centred)), batch["target"]
        if "crop" in batch:
            image, target = (centre(each, batch["crop"][0].tolist()) for each in (image, target))
        pair = target.cpu().numpy(), image.float().cpu().numpy()
        whole = fastmri(*pair).volume
        inside = fastmri(*pair, foreground(pair[0])).volume
        return {
            "ssim": whole["ssim"],
            "psnr": whole["psnr"],
            "nmse": whole["nmse"],
            "foreground_ssim": inside["ssim"],
        }

    def _run(self, batch: Mapping[str, Any]) -> Tensor:
        kspace: Tensor = self.network(batch["masked"], batch["mask"], batch["maps"])
        return kspace.float()


def centre(image: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of images; a side shorter than wanted stays (a width that is, makes a square).

    Shape:
        image: (N, H, W), result (N, h, w).
    """
    height, width = (min(want, have) for want, have in zip(size, image.shape[-2:], strict=True))
    if image.shape[-1] < size[1]:
        height = min(height, width)
    top, left = image.shape[-2] // 2 - height // 2, image.shape[-1] // 2 - width // 2
    return image[..., top : top + height, left : left + width]


def hidden_loss(kspace: Tensor, known: Tensor, hidden: Tensor) -> Tensor:
    """Half the relative L2 and half the relative L1 error on hidden samples.

    Shape:
        kspace, known: (N, coil, H, W, 2), hidden: (N, 1, H, W, 1); result ().

    Source:
        Yaman et al. (2020), normalised L1-L2 loss.
    """
    off, size = (kspace - known) * hidden, known * hidden
    squares = off.square().sum().sqrt() / size.square().sum().sqrt()
    return 0.5 * squares + 0.5 * off.abs().sum() / size.abs().sum()


def withheld_error(kspace: Tensor, known: Tensor, hidden: Tensor) -> Tensor:
    """Relative L2 error on samples that were held back: 1 where they are left at zero.

    Shape:
        as `hidden_loss`.
    """
    off = ((kspace - known) * hidden).square().sum()
    return (off / (known * hidden).square().sum()).sqrt()
