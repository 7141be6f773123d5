"""Losses between a reconstructed magnitude image and the reference: a weighted sum by name."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import UsageError, nearest
from medssm.mri.similarity import ssim_map

Measure = Callable[[Tensor, Tensor], Tensor]
HFEN_SIZE, HFEN_SIGMA = 15, 2.5


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - structural similarity; the data range is the maximum of the target over the batch."""
    return 1 - ssim_map(prediction, target, target.max().reshape(1)).mean()


def nmse(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error over the squared length of the target."""
    return (prediction - target).square().sum() / target.square().sum()


def nrmse(prediction: Tensor, target: Tensor) -> Tensor:
    """The root of `nmse`."""
    return nmse(prediction, target).sqrt()


def nmae(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute error over the absolute sum of the target."""
    return (prediction - target).abs().sum() / target.abs().sum()


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Minus the peak signal-to-noise ratio in dB, the peak that of the target."""
    return -peak_ratio(target, prediction).mean()


def peak_ratio(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of every image; the peak is that of the first argument.

    DIRECT's loss is given the prediction first, so its peak is the prediction's.

    Shape:
        first, second: (N, H, W), result (N,).
    """
    error = (first - second).square().flatten(1).mean(1)
    return 20 * first.flatten(1).amax(1).log10() - 10 * error.log10()


def snr(prediction: Tensor, target: Tensor) -> Tensor:
    """Minus the signal-to-noise ratio in dB, the mean over images."""
    signal = target.square().flatten(1).sum(1)
    return -10 * (signal / (prediction - target).square().flatten(1).sum(1)).log10().mean()


def edges_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute difference of Sobel gradients, both axes added."""
    return _gradient(prediction - target).abs().sum(1).mean()


def edges_l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared difference of Sobel gradients, both axes added."""
    return _gradient(prediction - target).square().sum(1).mean()


def hfen_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """High-frequency error: absolute difference behind a Laplacian of a Gaussian."""
    return _laplacian(prediction - target).abs().mean()


def hfen_l2(prediction: Tensor, target: Tensor) -> Tensor:
    """High-frequency error: squared difference behind a Laplacian of a Gaussian."""
    return _laplacian(prediction - target).square().mean()


def _gradient(x: Tensor) -> Tensor:
    across = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernels = torch.stack((across, across.T)).unsqueeze(1)
    return F.conv2d(F.pad(x.unsqueeze(1), (1, 1, 1, 1), mode="replicate"), kernels)


def _laplacian(x: Tensor) -> Tensor:
    line = torch.arange(HFEN_SIZE, dtype=x.dtype, device=x.device) - HFEN_SIZE // 2
    square = line[:, None] ** 2 + line[None, :] ** 2
    scale = 2 * HFEN_SIGMA**2
    kernel = (1 - square / scale) * torch.exp(-square / scale)
    kernel = (kernel / kernel.sum())[None, None]
    return F.conv2d(x.unsqueeze(1), kernel, padding=HFEN_SIZE // 2)


MEASURES: dict[str, Measure] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "ssim": ssim,
    "nmse": nmse,
    "nrmse": nrmse,
    "nmae": nmae,
    "psnr": psnr,
    "snr": snr,
    "edges_l1": edges_l1,
    "edges_l2": edges_l2,
    "hfen_l1": hfen_l1,
    "hfen_l2": hfen_l2,
}
PUBLISHED = {"l1": 1.0, "ssim": 1.0}


class ReconstructionLoss(nn.Module):
    """A weighted sum of measures between magnitude images.

    Args:
        terms: Name of a measure to its weight; the published L1 + (1 - SSIM) when not given.

    Shape:
        prediction, target: (N, H, W), result ().

    Raises:
        UsageError: There is no such measure.

    Source:
        RECON section 5.
    """

    def __init__(self, terms: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.terms = dict(PUBLISHED if terms is None else terms)
        for name, weight in self.terms.items():
            if name not in MEASURES:
                raise UsageError(f"there is no measure {name!r}; {nearest(name, MEASURES)}")
            if not math.isfinite(weight):
                raise UsageError(f"loss.terms.{name}={weight}: expected a finite weight.")

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The sum."""
        parts = [weight * MEASURES[name](prediction, target) for name, weight in self.terms.items()]
        return torch.stack(parts).sum()
