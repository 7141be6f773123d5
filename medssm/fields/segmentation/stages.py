"""The stages of segmentation as the command line asks for them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from medssm.core.errors import UsageError
from medssm.core.signature import make
from medssm.runs.answer import Answer, table
from medssm.runs.compose import parse_values
from medssm.runs.field import (
    DemoRequest,
    EvaluateRequest,
    ExportRequest,
    Field,
    ImportRequest,
    PredictRequest,
    StudyRequest,
)


def run_plan(request: StudyRequest) -> Answer:
    """Check and plan a data set."""
    from medssm.fields.segmentation.story import ensure_plan

    study = _study(request)
    made, _ = ensure_plan(study)
    file = study.workspace.plans_file(made.plans_name)
    facts = {"dataset": study.workspace.dataset, **made.facts()}
    lines = table([[key, value] for key, value in facts.items()], ("plan", ""))
    return Answer(facts, lines, [file], request.following("preprocess"))


def run_preprocess(request: StudyRequest) -> Answer:
    """Fill the store."""
    from medssm.fields.segmentation.story import ensure_preprocessed

    study = _study(request)
    made = ensure_preprocessed(study)
    store = study.workspace.store(made.data_identifier)
    cases = len([path for path in store.glob("*.pkl") if not path.name.startswith(".")])
    facts = {"dataset": study.workspace.dataset, "cases": cases, **made.facts()}
    return Answer(facts, [f"{cases} cases preprocessed"], [store], request.following("train"))


def run_train(request: StudyRequest) -> Answer:
    """Train a fold, whatever has to come before included."""
    from medssm.core.files import read_json
    from medssm.fields.segmentation.story import train_study

    study = _study(request)
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


def run_predict(request: PredictRequest) -> Answer:
    """Label images."""
    from medssm.fields.segmentation.predict import PredictConfig, predict

    wishes: dict[str, Any] = {
        "model": request.model,
        "input": request.input,
        "output": request.output,
        "home": request.home,
    }
    if request.force:
        wishes["overwrite"] = True
    wishes |= parse_values(request.overrides)
    report = predict(make(PredictConfig, wishes, "predict"))
    facts: dict[str, Any] = {
        "done": list(report.done),
        "failed": dict(report.failed),
        "skipped": list(report.skipped),
        "output": str(report.output),
    }
    if report.series:
        facts["series"] = [asdict(note) for note in report.series]
    rows = [[note.series, note.found, note.action] for note in report.series]
    # those that failed were named on stderr, which a quiet run shows as well
    lines = [*(table(rows, ("series", "found", "action")) if rows else ()), report.line()]
    known = wishes.get("cases") == "validation"
    references = () if known else ("-r", "REFERENCES")
    following = ("medssm", "evaluate", str(report.output), *references)
    return Answer(facts, lines, [report.output], following, report.exit_code)


def run_evaluate(request: EvaluateRequest) -> Answer:
    """Score predictions."""
    from medssm.fields.segmentation.evaluate import EvaluateConfig, evaluate

    wishes: dict[str, Any] = {"predictions": request.predictions}
    for name in ("references", "output", "against"):
        value = getattr(request, name)
        if value is not None:
            wishes[name] = value
    wishes |= parse_values(request.overrides)
    report = evaluate(make(EvaluateConfig, wishes, "evaluate"))
    return Answer(report.facts(), report.lines(), [report.report], (), report.exit_code)


def run_export(request: ExportRequest) -> Answer:
    """Hand a model over."""
    from medssm.fields.segmentation.export import ExportConfig, export

    wishes: dict[str, Any] = {
        "model": request.model,
        "output": request.output,
        "kind": request.kind,
        "embed": request.embed,
        "overwrite": request.force,
        **parse_values(request.overrides),
    }
    done = export(make(ExportConfig, wishes, "export"))
    return Answer(done.facts, done.lines, [done.written])


def run_demo(request: DemoRequest) -> Answer:
    """The whole story on phantoms."""
    from medssm.fields.segmentation.demo import demo

    return demo(request)


def run_import(request: ImportRequest) -> Answer:
    """Bring a data set, or a trained model of nnU-Net, under the home folder.

    Raises:
        UsageError: A word that an import of images does not take.
    """
    from medssm.data.layouts import ImportOptions, import_dataset

    if request.overrides:
        raise UsageError(
            f"medssm import {request.kind} SOURCE: unexpected word {request.overrides[0]!r}."
        )
    if request.kind == "nnunet-model":
        return _import_models(request)
    flags = request.flags
    options = ImportOptions(
        name=request.name,
        copy=bool(flags.get("copy")),
        channels=_words(flags.get("channels")),
        labels=_words(flags.get("labels")),
        patient=flags.get("patient"),
        patients=Path(flags["patients"]) if flags.get("patients") else None,
        size=_whole(flags.get("size")),
    )
    manifest = import_dataset(request.kind, request.source, request.home, options)
    facts = {
        "dataset": manifest.name,
        "cases": len(manifest.cases),
        "labels": {name: list(manifest.labels.members(name)) for name in manifest.labels.names},
        "channels": dict(manifest.channels),
    }
    lines = [f"{manifest.name}: {len(manifest.cases)} cases"]
    following = ("medssm", "train", manifest.name)
    return Answer(facts, lines, [manifest.folder / "dataset.json"], following)


def _import_models(request: ImportRequest) -> Answer:
    from medssm.fields.segmentation.nnunet.results import import_models

    made = import_models(
        request.source,
        request.home,
        request.name,
        trust=bool(request.flags.get("trust")),
        force=bool(request.flags.get("force")),
    )
    facts = {
        "models": [
            {
                "model": str(each.folder),
                "network": dict(each.network),
                "configuration": each.configuration,
                "trainer": each.trainer,
                "folds": list(each.folds),
                "sha256": dict(each.checkpoints),
            }
            for each in made
        ]
    }
    lines = [
        f"{each.folder.name}: {each.network['name']}, {each.configuration}, "
        f"fold {', '.join(each.folds)}"
        for each in made
    ]
    following = ("medssm", "predict", str(made[0].folder), "-i", "IMAGES", "-o", "PREDICTIONS")
    return Answer(facts, lines, [each.folder for each in made], following)


def recognise(folder: Path) -> str | None:
    """The layout of a raw folder of images and labels, or None."""
    from medssm.data.layouts import recognise_layout

    return recognise_layout(folder)


def _whole(text: str | None) -> int | None:
    if text is not None and not text.isdigit():
        raise UsageError(f"--size {text!r}: expected a whole number of pixels.")
    return None if text is None else int(text)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",")) if text else ()


def _study(request: StudyRequest) -> Any:
    from medssm.fields.segmentation.story import open_study

    return open_study(
        request.dataset, request.home, request.overrides, request.skip_bad, request.force
    )


FIELD = Field(
    plan=run_plan,
    preprocess=run_preprocess,
    train=run_train,
    predict=run_predict,
    evaluate=run_evaluate,
    demo=run_demo,
    import_dataset=run_import,
    recognise=recognise,
    export=run_export,
)
