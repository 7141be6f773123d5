"""What a user may say about a prediction of reconstruction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medssm.core.errors import UsageError
from medssm.fields.reconstruction.model_folder import Checkpoint
from medssm.fields.reconstruction.uncertainty import UncertaintyName


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
        consistency: "soft" gives what the network gives; "hard" puts the measured samples back;
            "weighted" moves the image towards them by least squares with `weight`; "auto" lets
            samples that are held back from a volume's middle slice choose between soft and
            several weights.
        weight: How far the network's image is believed in "weighted".
        uncertainty: "masks" spreads over thinned masks, "replicas" over added noise.
        replicas: How many times the slice is reconstructed for it.
        thinning: Share of samples that a thinned mask leaves out.
        calibrated: Correct the uncertainty by the factor that `medssm evaluate … calibrate=true`
            has put into the model folder for these very settings, where there is one.
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
    consistency: Literal["auto", "soft", "hard", "weighted"] = "auto"
    weight: float = 0.03
    uncertainty: UncertaintyName = "none"
    replicas: int = 8
    thinning: float = 0.2
    calibrated: bool = True
    withheld: float = 0.1
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        if self.replicas < 2:
            raise UsageError(f"replicas={self.replicas}: expected 2 or more for a spread.")
        if not self.weight > 0:
            raise UsageError(f"weight={self.weight}: expected above 0.")
        for name in ("thinning", "withheld"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: expected 0 to below 1.")
