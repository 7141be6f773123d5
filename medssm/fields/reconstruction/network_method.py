"""A trained network as a method of reconstruction: prepare, run, make consistent, spread."""

import numpy as np
import torch
from torch import Tensor, nn

from medssm.core.files import digest
from medssm.core.log import say
from medssm.data.kspace.volume import KspaceVolume
from medssm.fields.reconstruction.calibration import key_of, read_factor
from medssm.fields.reconstruction.consistency import (
    WEIGHTS,
    Measured,
    consistent,
    explained,
    explaining_maps,
)
from medssm.fields.reconstruction.masks_of_cases import fixed
from medssm.fields.reconstruction.model_folder import ReconModel
from medssm.fields.reconstruction.neighbours import window
from medssm.fields.reconstruction.predict_config import PredictConfig
from medssm.fields.reconstruction.preparation import Preparation, prepare
from medssm.fields.reconstruction.samples import complex_tensor
from medssm.fields.reconstruction.self_samples import kept_back
from medssm.fields.reconstruction.task import withheld_error
from medssm.fields.reconstruction.uncertainty import noise_spread, thinned, with_noise
from medssm.fields.reconstruction.volumes import SliceImage
from medssm.mri.coils import combine, rss
from medssm.mri.fourier import ifft2
from medssm.mri.undersampling import Mask
from medssm.training.order import words_of

SOFT, HARD = float("inf"), 0.0
"""Weights that stand for the network's own answer, and for the measured samples put back."""


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
        told = (
            "consistency", "weight", "uncertainty", "replicas", "thinning", "withheld", "seed",
        )  # fmt: skip
        self.factor_key = key_of(model.digest(), vars(config))
        self.factor = None
        if config.uncertainty != "none" and config.calibrated:
            self.factor = read_factor(model.weights.parent, self.factor_key)
        settings = {name: getattr(config, name) for name in told}
        factor = None if self.factor is None else vars(self.factor)
        self.key = digest([model.digest(), settings, factor])
        self.network: nn.Module = model.network().to(device)
        self.chosen: dict[tuple[str, bytes], float] = {}
        self.at_once = int(model.content.get("slices_at_once", 1))
        # samples of the slices before and behind the one at hand, for units that look along them
        self.before, self.behind = list[Tensor](), list[Tensor]()

    def __call__(
        self,
        kspace: np.ndarray,
        mask: np.ndarray,
        acs: np.ndarray,
        volume: KspaceVolume,
        index: int,
    ) -> SliceImage:
        """Reconstruct one slice."""
        self._set_centring(volume.centred)
        taken = Mask(torch.from_numpy(mask), torch.from_numpy(acs))
        samples = complex_tensor(kspace)
        weight = self._weight(volume, taken)
        self._look_around(volume, index)
        found = self._maps(samples, taken, weight)
        kspace_, scale, maps = self._run(samples, taken, weight, found)
        coils = ifft2(kspace_, volume.centred)
        combined = torch.view_as_complex(combine(coils, maps).contiguous())
        figures = {} if weight == SOFT else {"weight": weight}
        if self.config.withheld and volume.mask is not None:
            figures["withheld_error"] = self._withheld(
                samples, taken, weight, found, self.config.seed
            )
        spread = None
        if self.config.uncertainty != "none":
            spread = self._spread(samples, taken, (weight, found), index)
            figures["unit"] = float(scale)
            if self.factor is not None:
                spread = self.factor.apply(spread, float(scale))
        return SliceImage(
            scale * combined[0].cpu().numpy(), scale * rss(coils)[0].cpu().numpy(), spread, figures
        )

    def _look_around(self, volume: KspaceVolume, index: int) -> None:
        first, end = window(index, volume.slices, self.at_once)
        self.before = [complex_tensor(volume.read(each)) for each in range(first, index)]
        self.behind = [complex_tensor(volume.read(each)) for each in range(index + 1, end)]

    def _set_centring(self, centred: bool) -> None:
        """Networks are trained in one convention; where zero lies is a matter of the file."""
        self.settings = Preparation(**{**vars(self.settings), "centred": centred})
        for module in self.network.modules():
            if hasattr(module, "centred"):
                module.centred = centred  # type: ignore[assignment]

    def _weight(self, volume: KspaceVolume, mask: Mask) -> float:
        fixed_ = {"soft": SOFT, "hard": HARD, "weighted": self.config.weight}
        wished = self.config.consistency
        if wished in fixed_:
            return fixed_[wished]
        key = (str(volume.path), mask.sampled.numpy().tobytes())
        if key not in self.chosen:
            self.chosen[key] = self._choose(volume, mask)
        return self.chosen[key]

    def _choose(self, volume: KspaceVolume, taken: Mask) -> float:
        """The weight whose answer is nearest to samples held back from the middle slice."""
        middle = volume.slices // 2
        samples = complex_tensor(volume.read(middle))
        self._look_around(volume, middle)
        if volume.shape[1] == 1 or not bool((taken.sampled & ~taken.acs).any()):
            return SOFT
        if self.config.withheld and volume.mask is not None:
            # samples of the figure must not choose what they judge
            judging = kept_back(taken, self.config.withheld, self.config.seed)
            taken = Mask(taken.sampled & ~judging, taken.acs)
            if not bool((taken.sampled & ~taken.acs).any()):
                return SOFT
        samples = samples * taken.sampled[None, :, :, None]
        found = self._maps(samples, taken, WEIGHTS[0])
        if found is None:
            return SOFT
        seed = self.config.seed + 1
        errors = {
            each: self._withheld(samples, taken, each, found, seed) for each in (SOFT, *WEIGHTS)
        }
        best = min(errors, key=lambda each: errors[each])
        told = ", ".join(f"{each:g}: {error:.4f}" for each, error in errors.items())
        say("%s: error on withheld samples by weight %s; taking %g", volume.name, told, best)
        return best

    def _maps(self, samples: Tensor, mask: Mask, weight: float) -> Tensor | None:
        """The maps that consistency needs; the centre gives them, which no thinned mask lacks."""
        if weight in (SOFT, HARD):
            return None
        own = torch.view_as_complex(samples.contiguous()).numpy()
        found = explaining_maps(own, mask.acs.numpy(), self.settings.centred)
        return None if found is None else found.to(self.device)

    @torch.no_grad()
    def _run(
        self, samples: Tensor, mask: Mask, weight: float, found: Tensor | None
    ) -> tuple[Tensor, float, Tensor]:
        """K-space, the scale that brings it to the units of the data, and the maps."""
        settings = self.settings
        place = len(self.before)
        run = [
            prepare(each, fixed(mask), settings, known=False)
            for each in (*self.before, samples, *self.behind)
        ]
        masked, taken, maps = (
            torch.stack([getattr(each, name) for each in run]).to(self.device)
            for name in ("masked", "mask", "maps")
        )
        kspace = self.network(masked, taken, maps).float()
        kspace, masked, taken, maps = (
            each[place : place + 1] for each in (kspace, masked, taken, maps)
        )
        scale = float(run[place].scale)
        if weight == HARD:
            return torch.where(taken, masked, kspace), scale, maps
        if weight != SOFT and found is not None:
            measured = Measured(masked, taken, found, settings.centred)
            return consistent(kspace, measured, weight), scale, found
        refined = getattr(self.network, "refined", None)
        return kspace, scale, maps if refined is None else refined(maps)

    def _withheld(
        self, samples: Tensor, mask: Mask, weight: float, found: Tensor | None, seed: int
    ) -> float:
        """The error on samples that a second reconstruction does not see.

        Behind least squares it is that of the image seen through the maps, as with classical
        methods; noise of single coils foretells no sample.
        """
        hidden = kept_back(mask, self.config.withheld or 0.1, seed)
        seen = Mask(mask.sampled & ~hidden, mask.acs)
        shown = samples * seen.sampled[None, :, :, None]
        kspace, scale, _ = self._run(shown, seen, weight, found)
        if weight != SOFT and found is not None:
            kspace = explained(kspace, found, self.settings.centred)
        where = hidden[None, None, :, :, None]
        return float(withheld_error(scale * kspace.cpu(), samples[None], where))

    def _spread(
        self, samples: Tensor, mask: Mask, how: tuple[float, Tensor | None], index: int
    ) -> np.ndarray:
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
            kspace, scale, _ = self._run(changed, taken, *how)
            images.append(scale * rss(ifft2(kspace, self.settings.centred))[0].cpu().numpy())
        return np.asarray(np.std(images, axis=0, ddof=1))
