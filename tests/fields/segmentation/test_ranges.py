"""A number out of its range is a slip: answered by name, before any work."""

from pathlib import Path

import pytest

from medssm.core.errors import UsageError
from medssm.fields.segmentation.evaluate import EvaluateConfig
from medssm.fields.segmentation.predict import PredictConfig
from medssm.fields.segmentation.train_config import AugmentationConfig, TrainConfig
from medssm.training.config import TrainerConfig
from medssm.training.optimizers import OptimizerConfig

NETWORK = {"network": {"name": "lightm_unet"}}
FOLDERS = {"model": Path(), "output": Path()}


@pytest.mark.parametrize(
    ("kind", "given", "wrong"),
    [
        (AugmentationConfig, {}, {"oversample": 2}),
        (TrainConfig, NETWORK, {"batch_size": 0}),
        (TrainConfig, NETWORK, {"seed": -1}),
        (TrainConfig, NETWORK, {"patch_size": (8, 0, 8)}),
        (TrainConfig, NETWORK, {"patch_size": ()}),
        (TrainerConfig, {}, {"devices": 0}),
        (TrainerConfig, {}, {"patience": 0}),
        (TrainerConfig, {}, {"workers": -1}),
        (TrainerConfig, {}, {"clip_norm": float("nan")}),
        (OptimizerConfig, {}, {"lr": -0.1}),
        (OptimizerConfig, {}, {"lr": float("nan")}),
        (OptimizerConfig, {}, {"betas": (0.9, 1.0)}),
        (PredictConfig, FOLDERS, {"step_size": 0.0}),
        (PredictConfig, FOLDERS, {"window_batch": 0}),
        (EvaluateConfig, {"predictions": Path()}, {"tolerance_mm": -1.0}),
    ],
)
def test_a_number_out_of_its_range_is_named(kind, given, wrong):
    kind(**given)
    with pytest.raises(UsageError, match=rf"{next(iter(wrong))}=.*expected"):
        kind(**given, **wrong)
