"""Train: from bags and folds to a model folder; each fold's test bags are scored at its end."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, write_json, write_text
from medssm.core.log import say
from medssm.fields.pathology.answers import answer_bags, rows_of
from medssm.fields.pathology.bag_answer import BagAnswer
from medssm.fields.pathology.model_folder import (
    EDGES,
    STANDARD,
    FoldModel,
    model_content,
    open_model,
    plain,
    write_config,
    write_model,
)
from medssm.fields.pathology.plan_file import BagEntry, Plan
from medssm.fields.pathology.samples import BagSamples, Showing, answers_of, padded
from medssm.fields.pathology.scoring import ScoreTable, score_folds
from medssm.fields.pathology.store import FEATURES, BagStore, Inventory, Standard, standard_of
from medssm.fields.pathology.task import BagTask
from medssm.fields.pathology.train_config import TrainConfig
from medssm.metrics.survival import bins_of, survival_edges
from medssm.networks import BAG_NETWORKS
from medssm.networks.bags import BagNetwork
from medssm.runs.manifest_of_run import write_manifest
from medssm.runs.workspace import Workspace
from medssm.training.devices import settle
from medssm.training.engine import Run, fit, refuse_other_settings
from medssm.training.order import words_of
from medssm.training.task import Learning
from medssm.training.warm_start import load_initial_weights

CROSS_VALIDATION, TEST = "cross_validation.json", "test.csv"
_VALIDATION_BATCH = 16
# draws of patients for the intervals at the end of a training; evaluate takes more
_DRAWS = 200


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Args:
        model: The model folder.
        scores: Of the test bags of all folds that are done; None where no fold has test bags.
    """

    model: Path
    scores: ScoreTable | None


def train(
    config: TrainConfig, plan: Plan, inventory: Inventory, workspace: Workspace,
    asked: Sequence[str] = (),
) -> Trained:  # fmt: skip
    """Train one fold or each, or go on with it.

    Args:
        config: What to do.
        plan: Bags and folds.
        inventory: Feature files.
        workspace: Where results lie.
        asked: The key=value words behind `config`, for the record of the run.

    Raises:
        BadDataError: A fold has nothing to learn from.
        InterruptedRunError: Stopped on request; the same command goes on.
        UsageError: The fold does not exist, or its folder holds a run of other settings.
    """
    folds = range(len(plan.splits)) if config.fold == "each" else [config.fold]
    settle(config.trainer)
    store = BagStore(plan.bags, inventory, config.order)
    answers: list[BagAnswer] = []
    for fold in folds:
        answers += _fold(config, plan, store, workspace, fold, asked)
    model = workspace.model_folder(config.run_name)
    if not answers:
        return Trained(model, None)
    scores = score_folds(answers, plan, draws=_DRAWS)
    write_json(model / CROSS_VALIDATION, scores.plain())
    return Trained(model, scores)


def _fold(
    config: TrainConfig, plan: Plan, store: BagStore, workspace: Workspace, fold: int,
    asked: Sequence[str],
) -> list[BagAnswer]:  # fmt: skip
    sides = _sides(plan, store, fold)
    folder = workspace.fold_folder(config.run_name, fold)
    facts = _facts(config, plan, store, sides)
    if config.trainer.resume:
        refuse_other_settings(folder, facts)
    settings = {
        "order": config.order,
        "loss": config.objective.chosen(plan.task),
        "inventory": str(workspace.preprocessed / FEATURES),
    }
    content = model_content(config.network, plan, store.inventory, workspace.dataset, settings)
    write_model(workspace.model_folder(config.run_name), folder.name, content, plan)
    write_config(folder, config)
    write_manifest(folder, workspace.dataset, asked, {"plan": plan.digest()})
    standard = _standard(config, store, sides["train"], folder)
    samples, edges = _samples(config, plan, store, sides["train"], standard)
    write_json(folder / EDGES, edges)
    task = _task(config, plan, store, sides["val"], edges, standard)
    trainer = replace(
        config.trainer,
        steps_per_epoch=-(-len(samples) // (config.batch_size * config.trainer.accumulate)),
    )
    say(
        "%s, fold %d: %d bags to learn from, %d to validate, %d to test; %s with %.3f M parameters",
        config.run_name, fold, *(len(sides[side]) for side in ("train", "val", "test")),
        config.network["name"], sum(each.numel() for each in task.network.parameters()) / 1e6,
    )  # fmt: skip
    fit(task, samples, trainer, Run(folder, config.seed, config.batch_size, facts))
    model = open_model(folder.parent, [fold], config.checkpoint)
    trained = model.network(fold)
    answers = answer_bags(FoldModel(fold, trained.network, standard), store, sides["test"], model)
    _write_answers(folder / TEST, answers, plan)
    write_json(folder / "status.json", read_json(folder / "status.json") | {"state": "complete"})
    return answers


def _write_answers(file: Path, answers: Sequence[BagAnswer], plan: Plan) -> None:
    """The test bags of a fold as a table, what is true beside what was said."""
    told = ("patient", "label", "months", "event")
    rows = [
        {**row, **{name: getattr(plan.bags[row["bag"]], name) for name in told}}
        for row in rows_of(answers, plan.classes)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["bag"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def _sides(plan: Plan, store: BagStore, fold: int) -> dict[str, list[str]]:
    if not 0 <= fold < len(plan.splits):
        raise UsageError(f"fold={fold}: the plan has folds 0 to {len(plan.splits) - 1}.")
    split = plan.splits[fold]
    sides = {
        side: [name for name in split.get(side, ()) if name in store.bags]
        for side in ("train", "val", "test")
    }
    if not sides["train"]:
        raise BadDataError(f"fold {fold} has no bag with tiles to learn from.")
    return sides


def build_network(config: TrainConfig) -> BagNetwork:
    """The network with the start values of the seed, whatever ran before in the process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(words_of(config.seed)[0])
        network: BagNetwork = BAG_NETWORKS.build(**config.network)
    return network


def _standard(
    config: TrainConfig, store: BagStore, names: Sequence[str], folder: Path
) -> Standard | None:
    (folder / STANDARD).unlink(missing_ok=True)
    if not config.standardise:
        return None
    standard = standard_of(store, names)
    write_json(folder / STANDARD, standard.plain())
    return standard


def _samples(
    config: TrainConfig, plan: Plan, store: BagStore, names: Sequence[str],
    standard: Standard | None,
) -> tuple[BagSamples, list[float] | None]:  # fmt: skip
    bags = [plan.bags[name] for name in names]
    edges = None
    if plan.task == "survival":
        edges = _edges(bags, plan.bins)
    showing = Showing(
        per_epoch=_per_epoch(config, len(names)),
        balanced=config.sampling == "balanced",
        shuffle_tiles=config.shuffle_tiles,
        instances=config.instances,
        shuffle_labels=config.shuffle_labels,
        seed=config.seed,
    )
    answers = answers_of(bags, edges)
    return BagSamples(store, names, answers, _strata(bags, edges), showing, standard), edges


def _per_epoch(config: TrainConfig, bags: int) -> int:
    """Bags an epoch, in whole steps."""
    step = config.batch_size * config.trainer.accumulate
    return -(-(config.bags_per_epoch or bags) // step) * step


def _edges(bags: Sequence[BagEntry], count: int) -> list[float]:
    months = [each.months or 0.0 for each in bags]
    edges = survival_edges(months, [bool(each.event) for each in bags], count)
    if len(edges) <= count:
        say("the events of this fold tell %d time bins apart, not %d.", len(edges) - 1, count)
    return [float(edge) for edge in edges]


def _strata(bags: Sequence[BagEntry], edges: Sequence[float] | None) -> list[int]:
    """Classes, or pairs of time bin and censorship."""
    if edges is None:
        return [each.label or 0 for each in bags]
    bins = bins_of([each.months or 0.0 for each in bags], edges)
    return [2 * int(at) + int(bool(each.event)) for at, each in zip(bins, bags, strict=True)]


def _task(
    config: TrainConfig, plan: Plan, store: BagStore, held_back: Sequence[str],
    edges: Sequence[float] | None, standard: Standard | None,
) -> BagTask:  # fmt: skip
    network = build_network(config)
    if config.init is not None:
        say("%s", load_initial_weights(network, Path(config.init)))
    learning = Learning(
        config.optimizer, config.schedule, config.trainer.clip_norm, config.trainer.max_bad_steps
    )
    answers = answers_of([plan.bags[name] for name in held_back], edges)
    rows = []
    for index, name in enumerate(held_back):
        features = store.features(name)
        bag = features if standard is None else standard(features)
        rows.append({"bag": bag, **answers.row(index)})
    batches = [padded(rows[at : at + _VALIDATION_BATCH])
               for at in range(0, len(rows), _VALIDATION_BATCH)]  # fmt: skip
    return BagTask(network, learning, config.objective, plan.task, batches)


def _facts(
    config: TrainConfig, plan: Plan, store: BagStore, sides: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What makes two runs the same run."""
    told = ("network", "objective", "optimizer", "schedule", "order", "standardise", "sampling",
            "shuffle_tiles", "instances", "shuffle_labels", "batch_size", "bags_per_epoch",
            "seed")  # fmt: skip
    return {
        **{name: plain(getattr(config, name)) for name in told},
        "ema_decay": config.trainer.ema_decay,
        "split": digest({side: list(names) for side, names in sides.items()}),
        "counts": digest(dict(store.inventory.counts)),
        "answers": digest([plain(plan.bags[name]) for name in sides["train"]]),
    }
