"""The verbs that run a stage: words in, the stage's own function, an answer out."""

import argparse
from pathlib import Path
from typing import Any

from medssm.cli.answer import Answer, table
from medssm.core.errors import UsageError
from medssm.core.signature import make
from medssm.runs.compose import parse_values


def run_import(arguments: argparse.Namespace) -> Answer:
    """Bring a data set under the home folder, or a checkpoint under our names.

    Raises:
        UsageError: A word that only a checkpoint takes.
    """
    if arguments.kind == "checkpoint":
        from medssm.cli.checkpoint import run_import_checkpoint

        return run_import_checkpoint(arguments)
    from medssm.data.layouts import ImportOptions, import_dataset

    if arguments.file is not None or arguments.overrides:
        word = arguments.file or arguments.overrides[0]
        raise UsageError(f"medssm import {arguments.kind} SOURCE: unexpected word {word!r}.")
    options = ImportOptions(
        name=arguments.name,
        copy=arguments.copy,
        channels=_words(arguments.channels),
        labels=_words(arguments.labels),
        patient=arguments.patient,
        patients=Path(arguments.patients) if arguments.patients else None,
        size=_whole(arguments.size),
    )
    manifest = import_dataset(arguments.kind, Path(arguments.source), arguments.home, options)
    facts = {
        "dataset": manifest.name,
        "cases": len(manifest.cases),
        "labels": {name: list(manifest.labels.members(name)) for name in manifest.labels.names},
        "channels": dict(manifest.channels),
    }
    lines = [f"{manifest.name}: {len(manifest.cases)} cases"]
    return Answer(
        facts, lines, [manifest.folder / "dataset.json"],
        ("medssm", "train", manifest.name, *_home(arguments)),
    )  # fmt: skip


def _whole(text: str | None) -> int | None:
    if text is not None and not text.isdigit():
        raise UsageError(f"--size {text!r}: expected a whole number of pixels.")
    return None if text is None else int(text)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",")) if text else ()


def run_plan(arguments: argparse.Namespace) -> Answer:
    """Check and plan a data set."""
    from medssm.fields.segmentation.story import ensure_plan

    study = _study(arguments)
    made, _ = ensure_plan(study)
    file = study.workspace.plans_file(made.plans_name)
    facts = {"dataset": study.workspace.dataset, **made.facts()}
    lines = table([[key, value] for key, value in facts.items()], ("plan", ""))
    return Answer(facts, lines, [file], _next(arguments, "preprocess"))


def run_preprocess(arguments: argparse.Namespace) -> Answer:
    """Fill the store."""
    from medssm.fields.segmentation.story import ensure_preprocessed

    study = _study(arguments)
    made = ensure_preprocessed(study)
    store = study.workspace.store(made.data_identifier)
    cases = len([path for path in store.glob("*.pkl") if not path.name.startswith(".")])
    facts = {"dataset": study.workspace.dataset, "cases": cases, **made.facts()}
    return Answer(facts, [f"{cases} cases preprocessed"], [store], _next(arguments, "train"))


def run_train(arguments: argparse.Namespace) -> Answer:
    """Train a fold, whatever has to come before included."""
    from medssm.core.files import read_json
    from medssm.fields.segmentation.story import train_study

    study = _study(arguments)
    model = train_study(study)
    folds = {}
    for folder in sorted(model.glob("fold_*")):
        summary = folder / "validation" / "summary.json"
        mean = read_json(summary)["foreground_mean"]["Dice"] if summary.is_file() else None
        folds[folder.name] = {"mean_foreground_dice": mean}
    facts = {"dataset": study.workspace.dataset, "model": str(model), "folds": folds}
    lines = [
        f"{name}: mean foreground Dice {each['mean_foreground_dice']:.4f}"
        for name, each in folds.items()
        if each["mean_foreground_dice"] is not None
    ]
    following = ("medssm", "predict", str(model), "-i", "IMAGES", "-o", "PREDICTIONS")
    return Answer(facts, lines, [model], following)


def run_predict(arguments: argparse.Namespace) -> Answer:
    """Label images."""
    from medssm.fields.segmentation.predict import PredictConfig, predict

    wishes: dict[str, Any] = {
        "model": Path(arguments.model),
        "input": Path(arguments.input) if arguments.input else None,
        "output": Path(arguments.output),
    }
    if arguments.force:
        wishes["overwrite"] = True
    wishes |= parse_values(arguments.overrides)
    report = predict(make(PredictConfig, wishes, "predict"))
    facts = {
        "done": list(report.done),
        "failed": dict(report.failed),
        "skipped": list(report.skipped),
        "output": str(report.output),
    }
    # those that failed were named on stderr, which a quiet run shows as well
    lines = [report.line()]
    known = wishes.get("cases") == "validation"
    references = () if known else ("-r", "REFERENCES")
    following = ("medssm", "evaluate", str(report.output), *references)
    return Answer(facts, lines, [report.output], following, report.exit_code)


def run_evaluate(arguments: argparse.Namespace) -> Answer:
    """Score predictions."""
    from medssm.fields.segmentation.evaluate import EvaluateConfig, evaluate

    wishes: dict[str, Any] = {"predictions": Path(arguments.predictions)}
    for name in ("references", "output", "against"):
        value = getattr(arguments, name)
        if value is not None:
            wishes[name] = Path(value)
    wishes |= parse_values(arguments.overrides)
    report = evaluate(make(EvaluateConfig, wishes, "evaluate"))
    return Answer(report.facts(), report.lines(), [report.report], (), report.exit_code)


def _study(arguments: argparse.Namespace) -> Any:
    from medssm.fields.segmentation.story import open_study

    study = open_study(
        arguments.dataset, arguments.home, arguments.overrides, arguments.skip_bad, arguments.force
    )
    field = _field(study.workspace.raw_folder)
    if field != "segmentation":
        raise UsageError(f"{arguments.dataset}: its dataset.json names the field {field!r}, which "
                         "this version does not have. Known: segmentation.")  # fmt: skip
    return study


def _field(folder: Path) -> str:
    from medssm.core.files import read_json

    return str(read_json(folder / "dataset.json").get("field", "segmentation"))


def _next(arguments: argparse.Namespace, verb: str) -> tuple[str, ...]:
    flags = ("--skip-bad",) if arguments.skip_bad else ()
    return ("medssm", verb, arguments.dataset, *arguments.overrides, *flags, *_home(arguments))


def _home(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The flag, where the next command would look elsewhere without it."""
    from medssm.cli.main import home_folder

    home = arguments.home
    return () if home == home_folder(None) else ("--home", str(home))
