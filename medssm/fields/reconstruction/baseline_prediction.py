"""`medssm predict baseline`: classical reconstruction by the command that applies networks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest
from medssm.core.signature import make, parameters_of
from medssm.data.kspace.volume import KspaceVolume
from medssm.fields.reconstruction.baselines import BASELINES, espirit_maps, reconstruct
from medssm.fields.reconstruction.reference_images import reference_of
from medssm.fields.reconstruction.self_samples import kept_back
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.fields.reconstruction.tuning import (
    Tuned,
    against_reference,
    against_withheld,
    tune,
    withheld_error,
)
from medssm.fields.reconstruction.volumes import (
    SliceImage,
    VolumesConfig,
    predict_volumes,
)
from medssm.fields.reconstruction.volumes_report import VolumesReport
from medssm.mri.undersampling import Mask
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
from medssm.runs.field import PredictRequest

MODEL = "baseline"
# as for networks, so that figures can be laid side by side
WITHHELD_SHARE, WITHHELD_SEED = 0.1, 0
TuneName = Literal["none", "oracle_psnr", "oracle_ssim", "withheld"]


@dataclass(frozen=True)
class BaselineConfig:
    """What a user may say about a baseline.

    Args:
        method: A row of `BASELINES`.
        options: Of the method, e.g. options.lamda=0.01.
        tune: Options by themselves: "withheld" by the error on held-back samples of the slice;
            "oracle_psnr" and "oracle_ssim" by the reference, which no user has: for comparisons.
        sampling: Which mask undersamples inputs that are fully sampled.
        formats: Of the output: h5, nifti, dicom.
        slices: Numbers of slices; None takes all.
        withheld: Share of samples held back from a second reconstruction of undersampled input,
            on which its error is measured, as for networks; 0 leaves that out.
    """

    method: str = "l1_wavelet"
    options: Mapping[str, Any] = field(default_factory=dict)
    tune: TuneName = "none"
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    formats: tuple[str, ...] = ("h5",)
    slices: tuple[int, ...] | None = None
    withheld: float = WITHHELD_SHARE

    def __post_init__(self) -> None:
        known = set(parameters_of(BASELINES.load(self.method))) - {"problem"}
        unknown = sorted(set(self.options) - known)
        if unknown:
            raise UsageError(
                f"options.{unknown[0]}: {self.method} has the options "
                f"{', '.join(sorted(known)) or '(none)'}."
            )
        if not 0 <= self.withheld < 1:
            raise UsageError(f"withheld={self.withheld}: expected 0 to below 1.")
        if self.tune != "none" and self.options:
            raise UsageError("options and tune: take one of them.")


class BaselineMethod:
    """A baseline that answers slices.

    Args:
        config: Its settings.
    """

    def __init__(self, config: BaselineConfig) -> None:
        self.config = config
        tuned = "" if config.tune == "none" else f" ({config.tune.replace('_', ' ')})"
        self.name = f"{config.method}{tuned}"
        self.key = digest([config.method, dict(config.options), config.tune, config.withheld])

    def __call__(
        self,
        kspace: np.ndarray,
        mask: np.ndarray,
        acs: np.ndarray,
        volume: KspaceVolume,
        index: int,
    ) -> SliceImage:
        """Reconstruct one slice.

        Raises:
            BadDataError: The calibration area is too small; or an oracle is asked for and there
                is no reference.
        """
        name, centred = self.config.method, volume.centred
        maps = None
        if name != "zero_filled":
            maps = espirit_maps(kspace, acs, centred=centred)
        figures: dict[str, float] = {}
        options = self.config.options
        if self.config.tune == "withheld":
            best = _by_withheld(name, kspace, mask, acs, maps, centred)
        elif self.config.tune != "none":
            best = self._by_oracle(kspace, mask, maps, volume, index)
        else:
            image = reconstruct(name, kspace, mask, maps, centred=centred, **options)
            best = Tuned(image, options, 0.0)
        if self.config.tune != "none":
            figures = {**best.options, "score": best.score}
        if volume.mask is not None and maps is not None and self.config.withheld:
            held = held_back(mask, acs, self.config.withheld)
            words = best.options
            again = reconstruct(name, kspace, mask & ~held, maps, centred=centred, **words)
            figures["withheld_error"] = withheld_error(again, maps, kspace, held, centred=centred)
        return SliceImage(best.image, figures=figures)

    def _by_oracle(
        self,
        kspace: np.ndarray,
        mask: np.ndarray,
        maps: np.ndarray | None,
        volume: KspaceVolume,
        index: int,
    ) -> Tuned:
        reference = reference_of(volume, index)
        if reference is None:
            raise BadDataError(
                f"{volume.path}: undersampled and without a stored reconstruction. Expected a "
                "reference for tune=oracle_*; take tune=withheld."
            )
        score = against_reference(reference, self.config.tune.removeprefix("oracle_"))
        name = self.config.method
        return tune(name, kspace, mask, score, maps=maps, centred=volume.centred)


def held_back(mask: np.ndarray, acs: np.ndarray, share: float) -> np.ndarray:
    """The samples that every method is judged by where there is no reference, (H, W) boolean."""
    taken, centre = (torch.from_numpy(np.ascontiguousarray(each)) for each in (mask, acs))
    return np.asarray(kept_back(Mask(taken, centre), share, WITHHELD_SEED).numpy())


def _by_withheld(
    name: str, kspace: np.ndarray, mask: np.ndarray, acs: np.ndarray, maps: np.ndarray | None,
    centred: bool,
) -> Tuned:  # fmt: skip
    """Options by held-back samples, then the image from all of them."""
    if maps is None:
        raise UsageError("zero_filled has no options to tune; take tune=none.")
    held = held_back(mask, acs, WITHHELD_SHARE)
    score = against_withheld(kspace, maps, held, centred=centred)
    best = tune(name, kspace, mask & ~held, score, maps=maps, centred=centred)
    image = reconstruct(name, kspace, mask, maps, centred=centred, **best.options)
    return Tuned(image, best.options, best.score)


def is_baseline(model: Path) -> bool:
    """Whether `medssm predict` was given the word instead of a model folder."""
    return str(model) == MODEL and not Path(model).exists()


def predict_baseline(request: PredictRequest) -> Answer:
    """Reconstruct files by a classical method.

    Args:
        request: Its overrides are fields of `BaselineConfig`.

    Raises:
        UsageError: No input, or a wrong override.
        BadDataError: There are no k-space files.
    """
    if request.input is None:
        raise UsageError("medssm predict baseline needs -i, a file or a folder of k-space.")
    values = parse_values(request.overrides)
    config: BaselineConfig = make(BaselineConfig, values, "predict baseline")
    output = Path(request.output).expanduser().absolute()
    report = predict_volumes(
        VolumesConfig(
            input=Path(request.input).expanduser().absolute(),
            output=output,
            sampling=config.sampling,
            slices=config.slices,
            formats=config.formats,
            force=request.force,
            model=MODEL,
        ),
        BaselineMethod(config),
    )
    return _answer(report, config, output)


def _answer(report: VolumesReport, config: BaselineConfig, output: Path) -> Answer:
    done = [name for name in report.cases if name not in report.skipped]
    method = BaselineMethod(config).name
    facts = {
        "method": method,
        "done": done,
        "skipped": list(report.skipped),
        "failed": dict(report.failed),
        "output": str(output),
    }
    lines = [
        f"{method}: {len(done)} volumes reconstructed, {len(report.skipped)} were there, "
        f"{len(report.failed)} failed",
        *[f"failed: {name}: {reason}" for name, reason in report.failed.items()],
    ]
    following = ("medssm", "evaluate", str(output)) if report.cases else ()
    return Answer(facts, lines, [output], following, report.exit_code)
