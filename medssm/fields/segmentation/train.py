"""Train: from a preprocessed store to a model folder that `predict` takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, write_json
from medssm.core.log import say
from medssm.fields.segmentation.final_validation import validate_fold, validation_seconds
from medssm.fields.segmentation.model_folder import (
    model_content,
    refuse_other_folds,
    write_config,
    write_model,
)
from medssm.fields.segmentation.nnunet.augmentation import augmentation_rules, training_transforms
from medssm.fields.segmentation.patches import Cut, PatchSamples, Store, centre_patch
from medssm.fields.segmentation.plan_file import OURS, Plan
from medssm.fields.segmentation.slice_augmentation import slice_transforms
from medssm.fields.segmentation.task import SegmentationTask
from medssm.fields.segmentation.train_config import AugmentationConfig, TrainConfig
from medssm.losses import LOSSES
from medssm.networks import NETWORKS
from medssm.runs.manifest_of_run import write_manifest
from medssm.runs.workspace import Workspace
from medssm.training.devices import chosen_accelerator, settle
from medssm.training.engine import Run, fit, refuse_other_settings
from medssm.training.order import words_of
from medssm.training.task import Learning
from medssm.training.warm_start import transfer

__all__ = ["AugmentationConfig", "TrainConfig", "train"]


def train(config: TrainConfig, plan: Plan, workspace: Workspace, asked: Sequence[str] = ()) -> Path:
    """Train one fold, or go on with it.

    Args:
        config: What to do.
        plan: The plan; ours or stock nnU-Net's.
        workspace: Where store and results lie.
        asked: The key=value words behind `config`, for the record of the run.

    Returns:
        The model folder.

    Raises:
        BadDataError: The store lacks cases, or the fold does not exist.
        InterruptedRunError: Stopped on request; the same command goes on.
        UsageError: The model folder holds a run of other settings.
    """
    plan = _resized(plan, config)
    name = config.run_name(plan)
    split = _split(workspace, plan, config.fold)
    store = Store(workspace.store(plan.data_identifier), [*split["train"], *split["val"]])
    settle(config.trainer)
    network = _network(config)
    _check_patch(network, plan)
    folder = workspace.fold_folder(name, config.fold)
    facts = _facts(config, plan, split)
    _write_folder(config, plan, workspace, facts, asked)
    if config.init is not None and not config.scratch:
        moved = transfer(network, Path(config.init))
        write_json(folder / "transfer.json", moved.plain())
        say("%s", moved.describe())
    task = SegmentationTask(
        network,
        Learning(
            config.optimizer, config.schedule, config.trainer.clip_norm,
            config.trainer.max_bad_steps,
        ),
        _loss(config, plan),
        plan.labels,
        [centre_patch(store[case], plan.patch_size) for case in split["val"][:_QUICK_CASES]],
    )  # fmt: skip
    parameters = sum(each.numel() for each in network.parameters())
    say(
        "%s: fold %s, %d cases to train and %d held back; %s with %.2f M parameters, patch %s, "
        "batch %d.", name, config.fold, len(split["train"]), len(split["val"]),
        config.network["name"], parameters / 1e6, "x".join(map(str, plan.patch_size)),
        plan.batch_size,
    )  # fmt: skip
    _tell_of_measure(config, plan)
    reserve = 0.0
    if config.validate and split["val"] and config.trainer.max_time_s is not None:
        reserve = validation_seconds(network, plan, store, split["val"], config)
    fit(
        task,
        _samples(store, split["train"], plan, config),
        config.trainer,
        Run(folder, config.seed, plan.batch_size, facts, reserve),
    )
    if config.validate and split["val"]:
        validate_fold(network, plan, workspace, split["val"], folder, config.augmentation.mirror)
    write_json(folder / "status.json", read_json(folder / "status.json") | {"state": "complete"})
    return workspace.model_folder(name)


def _tell_of_measure(config: TrainConfig, plan: Plan) -> None:
    measured = plan.plans.get(OURS, {}).get("measured_on")
    if measured == "cpu" and chosen_accelerator(config.trainer) == "gpu":
        say(
            "The plan was made without a GPU, its batch is an estimate; `medssm plan DATASET "
            "--force` measures a step on this one."
        )


# held-back cases that the quick validation looks at; the final one takes all
_QUICK_CASES = 20


def _resized(plan: Plan, config: TrainConfig) -> Plan:
    """The plan with the user's own batch and patch."""
    wishes: dict[str, Any] = {}
    if config.batch_size is not None:
        wishes["batch_size"] = config.batch_size
    if config.patch_size is not None:
        if len(config.patch_size) != plan.spatial_dims:
            raise UsageError(
                f"patch_size={list(config.patch_size)}: expected {plan.spatial_dims} numbers for "
                f"{plan.configuration}."
            )
        wishes["patch_size"] = list(config.patch_size)
    if not wishes:
        return plan
    settings = {**plan.settings, **wishes}
    configurations = {**plan.plans["configurations"], plan.configuration: settings}
    return replace(plan, plans={**plan.plans, "configurations": configurations})


def _split(workspace: Workspace, plan: Plan, fold: int | str) -> dict[str, list[str]]:
    file = workspace.preprocessed / "splits_final.json"
    if fold == "all":
        store = workspace.store(plan.data_identifier)
        names = sorted(path.stem for path in store.glob("*.pkl") if not path.name.startswith("."))
        return {"train": names, "val": []}
    splits = read_json(file)
    if not isinstance(fold, int) or not 0 <= fold < len(splits):
        raise UsageError(f"fold={fold!r}: {file} has folds 0 to {len(splits) - 1}, or take all.")
    split = splits[fold]
    if not split["train"]:
        raise BadDataError(f"{file}: fold {fold} has no training case.")
    return {"train": list(split["train"]), "val": list(split["val"])}


def _network(config: TrainConfig) -> nn.Module:
    # the weights of the first step belong to the seed, not to what ran before in the process
    state = torch.random.get_rng_state()
    torch.manual_seed(words_of(config.seed)[0])
    try:
        network: nn.Module = NETWORKS.build(**config.network)
    finally:
        torch.random.set_rng_state(state)
    return network


def _check_patch(network: nn.Module, plan: Plan) -> None:
    divisors = getattr(network, "divisors", None)
    if not divisors or getattr(network, "pad", False):
        return
    wrong = [size for size, by in zip(plan.patch_size, divisors, strict=True) if size % by]
    if wrong:
        fitting = [-(-size // by) * by for size, by in zip(plan.patch_size, divisors, strict=True)]
        raise UsageError(
            f"patch {list(plan.patch_size)} does not fit the network, which needs multiples of "
            f"{list(divisors)}; take patch_size={fitting} or network.pad=true."
        )


def _loss(config: TrainConfig, plan: Plan) -> nn.Module:
    regions = plan.labels.has_regions
    chosen = dict(config.loss or {"name": "dice_bce" if regions else "dice_ce"})
    chosen.setdefault("batch_dice", plan.batch_dice)
    chosen.setdefault("ignore", plan.labels.ignore)
    if chosen["name"] == "dice_bce":
        chosen.setdefault("regions", [plan.labels.members(n) for n in plan.labels.foreground])
    loss: nn.Module = LOSSES.build(**chosen)
    return loss


def _samples(store: Store, names: list[str], plan: Plan, config: TrainConfig) -> PatchSamples:
    name = config.augmentation.name
    augment = name == "nnunet"
    rules = augmentation_rules(plan)
    ignore = plan.labels.ignore
    values = sorted(plan.labels.values - {ignore})
    cut = Cut(
        size=rules.initial_patch_size if augment else plan.patch_size,
        patch_size=plan.patch_size,
        batch_size=plan.batch_size,
        oversample=config.augmentation.oversample,
        annotated=(-1, *values) if ignore is not None else None,
    )
    transforms = None
    if name != "none":
        transforms = (
            training_transforms(plan, config.augmentation.mirror)
            if augment
            else slice_transforms(name, plan.spatial_dims)
        )
    return PatchSamples(store, names, cut, transforms, config.seed)


def _facts(config: TrainConfig, plan: Plan, split: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs the same run."""
    start = {} if config.init is None else {"start": [config.init, config.scratch]}
    return {
        **start,
        "network": dict(config.network),
        "loss": dict(config.loss) if config.loss else None,
        "optimizer": vars(config.optimizer),
        "schedule": vars(config.schedule),
        "augmentation": vars(config.augmentation),
        "batch_size": plan.batch_size,
        "patch_size": list(plan.patch_size),
        "seed": config.seed,
        "ema_decay": config.trainer.ema_decay,
        "split": digest(split),
        "data": digest([plan.plans.get("medssm", {}).get("inputs"), plan.data_identifier]),
    }


def _write_folder(
    config: TrainConfig, plan: Plan, workspace: Workspace, facts: Mapping[str, Any],
    asked: Sequence[str],
) -> None:  # fmt: skip
    """Write what describes the run, once it is sure that no other run is described there."""
    model = workspace.model_folder(config.run_name(plan))
    folder = workspace.fold_folder(config.run_name(plan), config.fold)
    content = model_content(config.network, plan, workspace, config.augmentation.mirror)
    if config.trainer.resume:
        refuse_other_settings(folder, facts)
    refuse_other_folds(model, content, config.fold)
    write_model(model, content, plan, workspace)
    write_config(folder, config)
    inputs = {"plan": digest(plan.plans), "dataset.json": digest(plan.dataset)}
    write_manifest(folder, workspace.dataset, asked, inputs)
