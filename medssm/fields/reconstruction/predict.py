"""Predict: from k-space in any layout to images, by a trained network."""

from collections.abc import Mapping
from typing import Any

from medssm.core.log import say
from medssm.core.signature import make
from medssm.fields.reconstruction.model_folder import open_model
from medssm.fields.reconstruction.network_method import NetworkMethod
from medssm.fields.reconstruction.predict_config import PredictConfig
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.fields.reconstruction.volumes import (
    VolumesConfig,
    predict_volumes,
)
from medssm.fields.reconstruction.volumes_report import VolumesReport
from medssm.inference.device import choose_device, describe_device


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
            told={
                "calibration": {
                    "key": method.factor_key,
                    "folder": str(model.weights.parent.absolute()),
                    "applied": method.factor is not None,
                }
            },
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
