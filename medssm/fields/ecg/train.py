"""Train: from preprocessed records to a model folder with calibrated probabilities."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, write_json, write_text
from medssm.core.log import say
from medssm.fields.ecg.calibration import Calibration, fit_slopes, no_calibration
from medssm.fields.ecg.model_folder import (
    CALIBRATION,
    LEARNED,
    VALIDATION,
    plan_hash,
    write_config,
    write_model_folder,
)
from medssm.fields.ecg.plan_file import SPLITS
from medssm.fields.ecg.prepare import about_patient
from medssm.fields.ecg.samples import WindowSamples, about_patients
from medssm.fields.ecg.store import EcgStore
from medssm.fields.ecg.task import EcgTask, macro_areas
from medssm.fields.ecg.thresholds import challenge_table, tune
from medssm.fields.ecg.train_config import TrainConfig
from medssm.fields.ecg.windows import Reader, WindowPlan
from medssm.losses.multilabel import effective_weights
from medssm.metrics.challenge import challenge_metric
from medssm.networks import ECG_NETWORKS
from medssm.runs.manifest_of_run import write_manifest
from medssm.runs.workspace import Workspace
from medssm.training.devices import settle
from medssm.training.engine import Run, fit, refuse_other_settings
from medssm.training.order import words_of
from medssm.training.task import Learning
from medssm.training.warm_start import load_initial_weights

# held-back records that the quick validation looks at; the final one takes all
_QUICK_RECORDS = 1000
_CHUNK = 256


@dataclass(frozen=True)
class Split:
    """Labelled records of a fold.

    Args:
        train: Those to learn from.
        val: Those to calibrate on.
    test: Those that neither sees, where the plan keeps some.
        name: What the plan calls the fold.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    name: str


def split_of(store: EcgStore, fold: int) -> Split:
    """The labelled records of a fold.

    Raises:
        BadDataError: The fold has nothing to learn from.
        UsageError: There is no such fold.
    """
    if not 0 <= fold < len(store.splits):
        raise UsageError(f"fold={fold}: the plan has folds 0 to {len(store.splits) - 1}.")
    split = store.splits[fold]
    train, val, test = (
        tuple(name for name in split.get(part, ()) if store.records[name].labelled)
        for part in ("train", "val", "test")
    )
    if not train:
        raise BadDataError(f"{store.folder}: fold {fold} has no labelled record to learn from.")
    _refuse_leak(store, train, (*val, *test))
    _refuse_leak(store, val, test)
    return Split(train, val, test, str(split.get("name", f"fold {fold}")))


def _refuse_leak(store: EcgStore, train: Sequence[str], others: Sequence[str]) -> None:
    """Hold the folds against patients and samples, whoever made them.

    Raises:
        BadDataError: A patient, or a recording under another name, is on both sides.
    """
    for what in ("patient", "sha256"):
        mine = {value: name for name in train if (value := getattr(store.records[name], what))}
        both = [name for name in others if getattr(store.records[name], what) in mine]
        if both:
            twin = mine[getattr(store.records[both[0]], what)]
            raise BadDataError(
                f"{store.folder / SPLITS}: {len(both)} held-back records share a {what} with the "
                f"others, e.g. {both[0]} with {twin}. Expected folds that keep them together; "
                "delete the file and plan again."
            )


def train(
    config: TrainConfig, store: EcgStore, workspace: Workspace, asked: Sequence[str] = ()
) -> Path:
    """Train one fold, or go on with it; then calibrate on what was held back.

    Args:
        config: What to do.
        store: Preprocessed records and their plan.
        workspace: Where results lie.
        asked: The key=value words behind `config`, for the record of the run.

    Returns:
        The model folder.

    Raises:
        BadDataError: The fold has nothing to learn from.
        InterruptedRunError: Stopped on request; the same command goes on.
        UsageError: The model folder holds a run of other settings.
    """
    split = split_of(store, config.fold)
    settle(config.trainer)
    network = build_network(config)
    model = workspace.model_folder(config.run_name)
    folder = workspace.fold_folder(config.run_name, config.fold)
    facts = _facts(config, store, split)
    if config.trainer.resume:
        refuse_other_settings(folder, facts)
    write_model_folder(model, folder.name, config.network, store.plan, workspace.dataset)
    write_config(folder, config)
    write_json(folder / LEARNED, _learned(store, split))
    write_manifest(folder, workspace.dataset, asked, {"plan": digest(store.plan.plain())})
    if config.init is not None:
        say("%s", load_initial_weights(network, Path(config.init)))
    samples = WindowSamples(store, split.train, config.augment, config.seed)
    learning = Learning(
        config.optimizer, config.schedule, config.trainer.clip_norm, config.trainer.max_bad_steps
    )
    weights = None
    if config.loss.balanced:
        weights = effective_weights(samples.targets.sum(0), len(split.train))
    task = EcgTask(network, learning, config.loss, weights, _held_back(store, split))
    say(
        "%s, %s: %d records to learn from and %d held back, %d classes; %s with %.3f M parameters, "
        "windows of %d at %g Hz, batch %d.", config.run_name, split.name, len(split.train),
        len(split.val), len(store.plan.classes), config.network["name"],
        sum(each.numel() for each in network.parameters()) / 1e6, store.plan.length,
        store.plan.rate_hz, config.batch_size,
    )  # fmt: skip
    outcome = fit(task, samples, config.trainer, Run(folder, config.seed, config.batch_size, facts))
    say("trained %d steps in %.0f s.", outcome.steps, outcome.seconds)
    validate(task.network, store, split, folder, config)
    write_json(folder / "status.json", read_json(folder / "status.json") | {"state": "complete"})
    return model


def _learned(store: EcgStore, split: Split) -> dict[str, Any]:
    """What the fold learns from, by samples, and the files of what it does not."""
    hashes = [store.records[name].sha256 for name in (*split.train, *split.val)]
    files = {
        part: [str(Path(store.plan.source) / store.records[name].file) for name in names]
        for part, names in (("validation", split.val), ("test", split.test))
    }
    return {"sha256_of_samples": sorted(filter(None, hashes)), "files": files}


def build_network(config: TrainConfig) -> nn.Module:
    """The network with the start values of the seed, whatever ran before in the process."""
    state = torch.random.get_rng_state()
    torch.manual_seed(words_of(config.seed)[0])
    try:
        network: nn.Module = ECG_NETWORKS.build(**config.network)
    finally:
        torch.random.set_rng_state(state)
    return network


def _held_back(store: EcgStore, split: Split) -> list[Tensor]:
    """The middle window of the first held-back records, and what is true of them."""
    names = split.val[:_QUICK_RECORDS]
    plan = WindowPlan(store.plan.length, most=1)
    windows = [
        plan.cut(signal, plan.starts(signal.shape[1])) for signal in map(store.signal, names)
    ]
    if not windows:
        return []
    return [
        torch.from_numpy(np.concatenate(windows)),
        about_patients(store, names),
        torch.from_numpy(np.asarray(store.targets(names), np.float32)),
        torch.from_numpy(np.asarray(store.known(names), np.float32)),
    ]


def stored_probabilities(
    reader: Reader, store: EcgStore, names: Sequence[str], plan: WindowPlan
) -> np.ndarray:
    """What a model says of preprocessed records.

    Shape:
        result: (N, K).
    """
    rows: list[np.ndarray] = []
    for start in range(0, len(names), _CHUNK):
        chunk = names[start : start + _CHUNK]
        about = [about_patient(store.records[name].age, store.records[name].sex) for name in chunk]
        rows += reader.records([store.signal(name) for name in chunk], about, plan)
    return np.array(rows).reshape(len(names), len(store.plan.classes))


def validate(
    network: nn.Module, store: EcgStore, split: Split, folder: Path, config: TrainConfig
) -> dict[str, Any]:
    """Calibrate on the held-back records; write calibration.json and validation.csv.

    The thresholds are chosen on the same records, so that the metric given with them flatters.
    """
    if not split.val:
        return {}
    device = next(network.parameters()).device
    plain = Reader([network.eval()], [no_calibration(len(store.plan.classes))], device)
    raw = stored_probabilities(plain, store, split.val, WindowPlan(store.plan.length))
    truth, known = (np.asarray(each(split.val)) for each in (store.targets, store.known))
    slope, shift = fit_slopes(raw, truth, known, config.calibration)
    half = Calibration(slope, shift, np.full(len(slope), 0.5), config.calibration.method)
    probabilities = half.apply(raw)
    thresholds = tune(probabilities, truth, known, store.plan.classes, config.calibration)
    made = Calibration(slope, shift, thresholds, half.method, config.calibration.thresholds)
    facts: dict[str, Any] = {"records": len(split.val), **macro_areas(raw, truth, known)}
    table = challenge_table(store.plan.classes)
    if table is not None:
        weights, sinus, places = table
        for name, cut in (("challenge_at_half", half.thresholds), ("challenge_tuned", thresholds)):
            decided = probabilities >= cut
            facts[name] = challenge_metric(truth[:, places] > 0, decided[:, places], weights, sinus)
    write_json(folder / CALIBRATION, made.plain() | {"held_back": facts})
    _write_validation(folder / VALIDATION, store, split.val, probabilities)
    return facts


def _write_validation(
    file: Path, store: EcgStore, names: Sequence[str], probabilities: np.ndarray
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["record", *(each.code for each in store.plan.classes)])
    for name, row in zip(names, probabilities, strict=True):
        writer.writerow([name, *(f"{value:.6g}" for value in row)])
    write_text(file, text.getvalue())


def _facts(config: TrainConfig, store: EcgStore, split: Split) -> dict[str, Any]:
    """What makes two runs the same run."""
    return {
        "network": dict(config.network),
        "loss": vars(config.loss),
        "optimizer": vars(config.optimizer),
        "schedule": vars(config.schedule),
        "augment": vars(config.augment),
        "batch_size": config.batch_size,
        "seed": config.seed,
        "ema_decay": config.trainer.ema_decay,
        "split": digest([split.train, split.val]),
        "plan": plan_hash(store.plan),
    }
