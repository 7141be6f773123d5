"""Predict: from k-space in any layout to images, by a trained network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from medssm.core.errors import UsageError
from medssm.core.files import digest
from medssm.core.log import say
from medssm.core.signature import make
from medssm.data.kspace.volume import KspaceVolume
from medssm.fields.reconstruction.masks_of_cases import fixed
from medssm.fields.reconstruction.model_folder import Checkpoint, ReconModel, open_model
from medssm.fields.reconstruction.preparation import Preparation, prepare
from medssm.fields.reconstruction.samples import complex_tensor
from medssm.fields.reconstruction.self_samples import kept_back
from medssm.fields.reconstruction.task import withheld_error
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.fields.reconstruction.uncertainty import (
    UncertaintyName,
    noise_spread,
    thinned,
    with_noise,
)
from medssm.fields.reconstruction.volumes import (
    SliceImage,
    VolumesConfig,
    predict_volumes,
)
from medssm.fields.reconstruction.volumes_report import VolumesReport
from medssm.inference.device import choose_device, describe_device
from medssm.mri.coils import combine, rss
from medssm.mri.fourier import ifft2
from medssm.mri.undersampling import Mask
from medssm.training.order import words_of


@dataclass(frozen=True)
class PredictConfig:
    """What a user may say about a prediction.

    Args:
        model: A model folder.
        input: A file or folder of k-space.
        output: A folder.
        sampling: Masks for files that hold every sample, as in the training; what is not said
            is as it was there.
        slices: Numbers of slices; None takes all.
        formats: Of the images: h5, nifti, dicom.
        device: Where it computes.
        fold: Which fold's weights; None takes the first.
        checkpoint: Weights of the end, or those that validated best.
        consistency: "soft" gives what the network gives; "hard" puts the measured samples back.
        uncertainty: "masks" spreads over thinned masks, "replicas" over added noise.
        replicas: How many times the slice is reconstructed for it.
        thinning: Share of samples that a thinned mask leaves out.
        withheld: Share of samples held back from a second reconstruction of undersampled input,
            on which its error is measured; 0 leaves that out.
        seed: Of those draws.
        force: Do finished cases again.
    """

    model: Path
    input: Path
    output: Path
    sampling: Mapping[str, Any] | None = None
    slices: Sequence[int] | None = None
    formats: tuple[str, ...] = ("h5",)
    device: str = "auto"
    fold: int | None = None
    checkpoint: Checkpoint = "final"
    consistency: Literal["soft", "hard"] = "soft"
    uncertainty: UncertaintyName = "none"
    replicas: int = 8
    thinning: float = 0.2
    withheld: float = 0.1
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        if self.replicas < 2:
            raise UsageError(f"replicas={self.replicas}: expected 2 or more for a spread.")
        for name in ("thinning", "withheld"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: expected 0 to below 1.")


def predict(config: PredictConfig) -> VolumesReport:
    """Reconstruct.

    Raises:
        BadDataError: No model, or no k-space.
        UsageError: A wrong setting.
    """
    model = open_model(config.model, config.fold, config.checkpoint)
    device = choose_device(config.device)
    say("Reconstructing on %s.", describe_device(device))
    method = NetworkMethod(model, config, device)
    return predict_volumes(
        VolumesConfig(
            input=config.input,
            output=config.output,
            sampling=sampling_of(model.sampling, config.sampling),
            slices=config.slices,
            formats=config.formats,
            force=config.force,
            model=str(config.model),
            padding=model.preparation.padding,
        ),
        method,
    )


def sampling_of(learned: SamplingConfig, wished: Mapping[str, Any] | None) -> SamplingConfig:
    """The masks of the training with what the user wished otherwise.

    Raises:
        UsageError: A wish that does not fit.
    """
    made: SamplingConfig = make(SamplingConfig, {**vars(learned), **(wished or {})}, "sampling")
    return made


class NetworkMethod:
    """A trained network as a method of reconstruction.

    Args:
        model: What was trained.
        config: How it is applied.
        device: Where.
    """

    def __init__(self, model: ReconModel, config: PredictConfig, device: torch.device) -> None:
        self.name = str(model.content["network"]["name"])
        self.settings, self.config, self.device = model.preparation, config, device
        told = ("consistency", "uncertainty", "replicas", "thinning", "withheld", "seed")
        self.key = digest([model.digest(), {name: getattr(config, name) for name in told}])
        self.network: nn.Module = model.network().to(device)

    def __call__(
        self,
        kspace: np.ndarray,
        mask: np.ndarray,
        acs: np.ndarray,
        volume: KspaceVolume,
        index: int,
    ) -> SliceImage:
        """Reconstruct one slice."""
        samples = complex_tensor(kspace)
        taken = Mask(torch.from_numpy(mask), torch.from_numpy(acs))
        settings = Preparation(**{**vars(self.settings), "centred": volume.centred})
        self._set_centring(volume.centred)
        image, combined, _ = self._run(samples, taken, settings)
        figures = {}
        if self.config.withheld and volume.mask is not None:
            figures["withheld_error"] = self._withheld(samples, taken, settings)
        spread = None
        if self.config.uncertainty != "none":
            spread = self._spread(samples, taken, settings, index)
        return SliceImage(combined, image, spread, figures)

    def _set_centring(self, centred: bool) -> None:
        """Networks are trained in one convention; where zero lies is a matter of the file."""
        for module in self.network.modules():
            if hasattr(module, "centred"):
                module.centred = centred  # type: ignore[assignment]

    @torch.no_grad()
    def _run(
        self, samples: Tensor, mask: Mask, settings: Preparation
    ) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Magnitude, complex image and k-space, all in the units of the data."""
        ready = prepare(samples, fixed(mask), settings, known=False)
        masked, taken, maps = (
            each[None].to(self.device) for each in (ready.masked, ready.mask, ready.maps)
        )
        kspace = self.network(masked, taken, maps).float()
        if self.config.consistency == "hard":
            kspace = torch.where(taken, masked, kspace)
        coils = ifft2(kspace, settings.centred)
        refined = getattr(self.network, "refined", None)
        maps = refined(maps) if refined is not None else maps
        whole = torch.view_as_complex(combine(coils, maps).contiguous())
        scale = float(ready.scale)
        return (
            scale * rss(coils)[0].cpu().numpy(),
            scale * whole[0].cpu().numpy(),
            scale * kspace.cpu(),
        )

    def _withheld(self, samples: Tensor, mask: Mask, settings: Preparation) -> float:
        """The error on samples that a second reconstruction does not see."""
        hidden = kept_back(mask, self.config.withheld, self.config.seed)
        seen = Mask(mask.sampled & ~hidden, mask.acs)
        _, _, kspace = self._run(samples * seen.sampled[None, :, :, None], seen, settings)
        return float(withheld_error(kspace, samples[None], hidden[None, None, :, :, None]))

    def _spread(self, samples: Tensor, mask: Mask, settings: Preparation, index: int) -> np.ndarray:
        """Standard deviation over reconstructions of thinned or noisier measurements."""
        noise = noise_spread(samples, mask.sampled)
        images = []
        for number in range(self.config.replicas):
            generator = np.random.default_rng(words_of(self.config.seed, index, number))
            changed, taken = samples, mask
            if self.config.uncertainty == "masks":
                less = thinned(mask.sampled, mask.acs, self.config.thinning, generator)
                changed, taken = samples * less[None, :, :, None], Mask(less, mask.acs)
            else:
                changed = with_noise(samples, mask.sampled, noise, generator)
            images.append(self._run(changed, taken, settings)[0])
        return np.asarray(np.std(images, axis=0, ddof=1))
