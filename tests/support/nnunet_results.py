"""A results folder as stock nnU-Net leaves it: its own network, random weights, its checkpoints."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medssm.core.files import write_json
from medssm.fields.segmentation.plan_file import Plan

RESIDUAL = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"


def residual_plans(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """The same plans with the residual encoder that the ResEnc presets take."""
    changed = deepcopy(dict(plans))
    architecture = changed["configurations"][configuration]["architecture"]
    arguments = architecture["arch_kwargs"]
    depth = len(arguments["strides"])
    arguments.pop("n_conv_per_stage")
    arguments["n_blocks_per_stage"] = [1, 3, 4, 6, 6, 6][:depth]
    arguments["n_conv_per_stage_decoder"] = [1] * (depth - 1)
    architecture["network_class_name"] = RESIDUAL
    return changed


def small_plans(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """The same plans with few channels: a network of random weights needs no more."""
    changed = deepcopy(dict(plans))
    arguments = changed["configurations"][configuration]["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [min(4 * 2**i, 16) for i in range(arguments["n_stages"])]
    return changed


def make_results(
    folder: Path,
    plan: Plan,
    plans: Mapping[str, Any],
    configuration: str,
    folds: Sequence[int | str] = (0,),
    name: str = "checkpoint_final.pth",
    **changes: Any,
) -> Path:
    """Write TRAINER__PLANS__CONFIGURATION with a checkpoint a fold, as nnUNetTrainer saves it."""
    model = folder / plan.plans["dataset_name"] / f"nnUNetTrainer__nnUNetPlans__{configuration}"
    dataset = {key: value for key, value in plan.dataset.items() if key != "dataset"}
    write_json(model / "plans.json", plans)
    write_json(model / "dataset.json", dataset)
    for index, fold in enumerate(folds):
        torch.manual_seed(index)
        network = stock_network(plans, configuration, dataset)
        content = {
            "network_weights": network.state_dict(),
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0]}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.5)], "ema_fg_dice": [np.float32(0.5)]},
            "_best_ema": np.float64(0.5),
            "current_epoch": 1,
            "init_args": {
                "plans": plans,
                "configuration": configuration,
                "fold": fold,
                "dataset_json": dataset,
                "device": torch.device("cpu"),
            },
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": tuple(
                range(len(plans["configurations"][configuration]["patch_size"]))
            ),
            **changes,
        }
        (model / f"fold_{fold}").mkdir(exist_ok=True)
        torch.save(content, model / f"fold_{fold}" / name)
    return model


def stock_network(
    plans: Mapping[str, Any], configuration: str, dataset: Mapping[str, Any]
) -> torch.nn.Module:
    """The network that stock nnU-Net builds from plans."""
    manager = PlansManager(dict(plans))
    settings = manager.get_configuration(configuration)
    labels = manager.get_label_manager(dict(dataset))
    network: torch.nn.Module = get_network_from_plans(
        settings.network_arch_class_name,
        settings.network_arch_init_kwargs,
        settings.network_arch_init_kwargs_req_import,
        len(dataset["channel_names"]),
        labels.num_segmentation_heads,
        allow_init=True,
        deep_supervision=True,
    )
    return network


def stock_predict(model: Path, images: Path, output: Path, folds: Sequence[int | str]) -> None:
    """Predict a folder as nnUNetv2_predict does, in this process."""
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=True,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        verbose=False,
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(model), tuple(folds), "checkpoint_final.pth")
    output.mkdir(parents=True)
    predictor.predict_from_files_sequential(str(images), str(output))
