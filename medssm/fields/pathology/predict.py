"""Predict: bags to a table of answers, the attention of every tile, heatmaps and top tiles."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, write_json, write_text
from medssm.core.log import Progress, say, warn
from medssm.fields.pathology.answers import answer, mean_answer
from medssm.fields.pathology.bag_answer import BagAnswer, row_of
from medssm.fields.pathology.inputs import Inputs, Wanted, find_inputs, held_back_bags
from medssm.fields.pathology.model_folder import Checkpoint, FoldModel, TrainedModel, open_model
from medssm.fields.pathology.outputs import Drawing, write_outputs
from medssm.fields.pathology.plan_file import BagEntry
from medssm.fields.pathology.store import read_tiles
from medssm.fields.pathology.tile_origin import check_tiles
from medssm.inference.device import choose_device

PREDICTIONS, TABLE = "predictions.json", "predictions.csv"


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """What a user may say about a prediction.

    Args:
        model: The model folder that `medssm train` named.
        output: Folder of the answers.
        input: Slides, features or a table of bags; None with cases="test".
        cases: "test": every fold's network answers the bags of its own test side.
        folds: Folds to average; None takes all that are there.
        checkpoint: The weights of the end of training, or those that validated best.
        table: A study's table: patients, and what is true for `medssm evaluate`.
        slides: Slides under which heatmaps are drawn, where features are given.
        mpp: Micrometres a pixel of the slides that do not tell theirs.
        heatmaps: Draw the attention of bags whose tiles have places.
        top_tiles: Most attended tiles that are listed, and drawn where the slide is at hand.
        check_order: Refuse tiles in another order than those of training.
        check_encoder: Refuse features of another encoder.
        device: "auto", "cpu", "cuda", ...
        overwrite: Predict again what is there and fits.
    """

    model: Path
    output: Path
    input: Path | None = None
    cases: str | None = None
    folds: int | tuple[int, ...] | None = None
    checkpoint: Checkpoint = "final"
    table: str | None = None
    slides: str | None = None
    mpp: float | None = None
    heatmaps: bool = True
    top_tiles: int = 10
    check_order: bool = True
    check_encoder: bool = True
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.cases not in (None, "test"):
            raise UsageError(f"cases={self.cases!r}: expected test.")
        if (self.input is None) == (self.cases is None):
            raise UsageError("predict takes either an input (-i) or cases=test.")
        if self.top_tiles < 0:
            raise UsageError(f"top_tiles={self.top_tiles}: expected 0 or more.")


@dataclass
class PredictReport:
    """What became of the bags.

    Args:
        output: Where the answers lie.
        done: Bags answered now.
        skipped: Bags that were answered before.
        empty: Bags without a tile, which have no answer.
        failed: Bags that could not be read, with the reason.
    """

    output: Path
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 3 where a bag failed."""
        return BadDataError.exit_code if self.failed else 0

    def line(self) -> str:
        """In one line."""
        told = f"{len(self.done)} bags answered, {len(self.skipped)} were there"
        if self.empty:
            told += f", {len(self.empty)} without tiles"
        return told + (f", {len(self.failed)} failed" if self.failed else "")


def predict(config: PredictConfig) -> PredictReport:
    """Answer bags with a trained model.

    Raises:
        UsageError: An argument that does not fit the model.
        BadDataError: The model or the whole input cannot be used.
    """
    folds = (config.folds,) if isinstance(config.folds, int) else config.folds
    model = open_model(config.model, folds, config.checkpoint)
    if config.input is None:
        inputs = held_back_bags(model)
    else:
        table, slides = (None if p is None else Path(p) for p in (config.table, config.slides))
        wanted = Wanted(config.input, config.output, table, slides, config.mpp)
        inputs = find_inputs(wanted, model)
    networks = {fold: model.network(fold) for fold in model.weights}
    device = choose_device(config.device)
    for each in networks.values():
        each.network.to(device)
    report = PredictReport(config.output)
    cases = _answer_all(config, model, inputs, networks, report)
    _write(config, model, inputs, cases)
    for name, why in report.failed.items():
        warn("failed: %s: %s", name, why)
    return report


def _answer_all(
    config: PredictConfig, model: TrainedModel, inputs: Inputs,
    networks: Mapping[int, FoldModel], report: PredictReport,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    before = _before(config)
    keys = {fold: model.digest([fold]) for fold in networks}
    say("%d bags with fold %s of %s", len(inputs.bags), _folds(networks), config.model)
    cases: dict[str, dict[str, Any]] = {}
    bar = Progress(len(inputs.bags), "predict")
    for name, bag in inputs.bags.items():
        own = [inputs.folds[name]] if name in inputs.folds else list(networks)
        key = _key(config, inputs, bag, [keys[fold] for fold in own])
        if before.get(name, {}).get("key") == key and _stands(config, before[name]):
            cases[name] = before[name]
            report.skipped.append(name)
        else:
            chosen = [networks[fold] for fold in own]
            cases[name] = {"key": key, **_one(config, model, inputs, bag, chosen, report)}
        bar.step(name)
    return cases


def _one(
    config: PredictConfig, model: TrainedModel, inputs: Inputs, bag: BagEntry,
    networks: list[FoldModel], report: PredictReport,
) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = {"bag": bag.name, "patient": bag.patient}
    try:
        lost = [inputs.failed[slide] for slide in bag.slides if slide in inputs.failed]
        if lost:
            raise BadDataError("; ".join(lost))
        files = [inputs.files[slide] for slide in bag.slides if slide in inputs.files]
        tiles = read_tiles(files, int(model.content["width"]), str(model.content["order"]))
        if not len(tiles.features):
            report.empty.append(bag.name)
            return {"row": {**row, "status": "no_instances"}, "outputs": []}
        check_tiles(tiles, model.origin, config.check_order, config.check_encoder)
        said = mean_answer([answer(net, tiles.features, bag.name, model) for net in networks])
        drawing = Drawing(config.heatmaps, config.top_tiles, inputs.slides)
        outputs = write_outputs(config.output, tiles, said, drawing)
    except BadDataError as error:
        report.failed[bag.name] = str(error)
        return {"row": {**row, "status": "failed"}, "outputs": [], "problem": str(error)}
    report.done.append(bag.name)
    told = row_of(said, model.content["classes"])
    return {
        "row": {**row, **told, "tiles": len(tiles.features)},
        "outputs": [path.relative_to(config.output).as_posix() for path in outputs],
    }


def _before(config: PredictConfig) -> dict[str, dict[str, Any]]:
    file = config.output / PREDICTIONS
    if config.overwrite or not file.is_file():
        return {}
    return dict(read_json(file).get("cases") or {})


def _stands(config: PredictConfig, case: Mapping[str, Any]) -> bool:
    here = all((config.output / path).is_file() for path in case["outputs"])
    return here and case["row"].get("status") != "failed"


def _key(config: PredictConfig, inputs: Inputs, bag: BagEntry, keys: list[str]) -> str:
    """A hash of the network, the files and what is drawn."""
    files = []
    for slide in bag.slides:
        if slide in inputs.files:
            stat = inputs.files[slide].stat()
            files.append([slide, stat.st_size, stat.st_mtime_ns])
    return digest([keys, files, sorted(inputs.slides.keys() & set(bag.slides)),
                   config.heatmaps, config.top_tiles])  # fmt: skip


def _folds(networks: Mapping[int, FoldModel]) -> str:
    return ", ".join(map(str, networks))


def _write(
    config: PredictConfig, model: TrainedModel, inputs: Inputs, cases: Mapping[str, dict[str, Any]]
) -> None:
    rows = [case["row"] for case in cases.values()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(config.output / TABLE, text.getvalue())
    truth = {
        name: {key: getattr(bag, key) for key in ("patient", "label", "months", "event")}
        for name, bag in inputs.bags.items()
        if bag.label is not None or bag.months is not None
    }
    content = {
        "format": 1,
        "field": "pathology",
        "model": str(Path(config.model).resolve()),
        "dataset": model.content["dataset"],
        "task": model.content["task"],
        "unit": model.content["unit"],
        "classes": model.content["classes"],
        "order": model.content["order"],
        "input": "test" if config.input is None else str(config.input),
        "truth": truth,
        "cases": dict(cases),
        "failed": {name: case["problem"] for name, case in cases.items() if "problem" in case},
    }
    write_json(config.output / PREDICTIONS, content)


def answer_of_row(row: Mapping[str, Any], classes: list[str]) -> BagAnswer | None:
    """A row of the table as an answer; None where it has none."""
    import numpy as np

    if row.get("status") != "done":
        return None
    empty = np.zeros((1, 0))
    if row.get("risk") is not None:
        hazards = [value for name, value in row.items() if name.startswith("hazard_")]
        return BagAnswer(row["bag"], int(row["fold"]), np.array(hazards), float(row["risk"]), empty)
    shares = np.array([row[f"p_{name}"] for name in classes])
    return BagAnswer(row["bag"], int(row["fold"]), shares, None, empty)
