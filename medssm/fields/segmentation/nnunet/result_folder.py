"""A model folder of ours as a folder of results that stock nnU-Net predicts with."""

import shutil
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from torch import nn

from medssm.bundle.package import without_folders
from medssm.core.files import atomic_path, read_json, write_json
from medssm.fields.segmentation.nnunet.checkpoint import FINAL, TRAINER, nnunet_checkpoint
from medssm.fields.segmentation.nnunet.our_plans import architecture
from medssm.fields.segmentation.plan_file import OURS
from medssm.fields.segmentation.trained import TrainedModel
from medssm.networks import NETWORKS
from medssm.networks.nnunet import PlansNetwork, supervision_strides

# nnU-Net's own course: with so many epochs done it does not train on
_EPOCHS = 1000
# keys of dataset.json that hold places on this machine
_PLACES = ("dataset", "source")


def results_name(model: TrainedModel, plans_name: str) -> str:
    """DATASET/TRAINER__PLANS__CONFIGURATION, as nnU-Net finds a model under nnUNet_results."""
    content = model.content
    return f"{content['dataset']}/{TRAINER}__{plans_name}__{content['configuration']}"


def write_results(model: TrainedModel, folder: Path, plans_name: str) -> None:
    """Write plans, dataset.json, fingerprint and a checkpoint of every fold.

    Args:
        model: The model.
        folder: The folder to fill, what lies in it is kept.
        plans_name: Name of the plans.
    """
    plans, dataset = exported_plans(model, plans_name), exported_dataset(model)
    write_json(folder / "plans.json", plans)
    write_json(folder / "dataset.json", dataset)
    fingerprint = model.folder / "dataset_fingerprint.json"
    if fingerprint.is_file():
        write_json(folder / fingerprint.name, read_json(fingerprint))
    settings = plans["configurations"][model.plan.configuration]["architecture"]["arch_kwargs"]
    for fold in model.weights:
        outputs = model.plan.labels.num_outputs
        network = PlansNetwork(model.plan.num_channels, outputs, **settings)
        network.network.load_state_dict(model.network([fold]).state_dict())
        content = nnunet_checkpoint(
            network.state_dict(),
            {
                "plans": plans,
                "configuration": model.plan.configuration,
                "fold": int(fold) if fold.isdecimal() else fold,
                "dataset_json": dataset,
                "device": torch.device("cpu"),
            },
            model.mirror_axes,
            optimizer=_fresh_optimizer(network),
            logging=LocalLogger().get_checkpoint(),
            epoch=_EPOCHS,
        )
        place = folder / f"fold_{fold}"
        place.mkdir(parents=True, exist_ok=True)
        with atomic_path(place / FINAL) as partial:
            torch.save(content, partial)
        _copy_course(model.folder / place.name, place)


def _copy_course(fold: Path, place: Path) -> None:
    """The training's own curves and validation under nnU-Net's names, as far as they are there.

    nnUNetv2_export_model_to_zip asks for both.

    Args:
        fold: Of our model.
        place: Of nnU-Net's folder.
    """
    curves, summary = fold / "curves.png", fold / "validation" / "summary.json"
    if curves.is_file():
        shutil.copyfile(curves, place / "progress.png")
    if summary.is_file():
        write_json(place / "validation" / summary.name, without_folders(read_json(summary)))


def exported_plans(model: TrainedModel, plans_name: str) -> dict[str, Any]:
    """The model's plan: its one configuration with everything it inherits, and our network."""
    plan = model.plan
    network = dict(model.content["network"])
    built = NETWORKS.build(**network)
    strides = supervision_strides(built, plan.spatial_dims, plan.num_channels)
    settings = {key: value for key, value in plan.settings.items() if key != "inherits_from"}
    settings["architecture"] = architecture(network, strides, "auto")
    plans = {key: value for key, value in plan.plans.items() if key != OURS}
    return {
        **plans,
        "dataset_name": model.content["dataset"],
        "plans_name": plans_name,
        "configurations": {plan.configuration: settings},
    }


def exported_dataset(model: TrainedModel) -> dict[str, Any]:
    """dataset.json without the places of this machine."""
    return {key: value for key, value in model.dataset.items() if key not in _PLACES}


def _fresh_optimizer(network: nn.Module) -> dict[str, Any]:
    """The state of nnU-Net's own optimiser before its first step: its trainer loads one."""
    optimizer = torch.optim.SGD(
        network.parameters(), 1e-2, weight_decay=3e-5, momentum=0.99, nesterov=True
    )
    return optimizer.state_dict()
