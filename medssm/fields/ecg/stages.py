"""The stages of the electrocardiogram as the command line asks for them."""

from pathlib import Path
from typing import Any

from medssm.core.signature import make
from medssm.runs.answer import Answer
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
    """Take stock of a folder of records and split it."""
    from medssm.fields.ecg.plan import plan_ecg

    return plan_ecg(request)


def run_preprocess(request: StudyRequest) -> Answer:
    """Fill the store."""
    from medssm.fields.ecg.preprocess import preprocess_ecg

    return preprocess_ecg(request)


def run_train(request: StudyRequest) -> Answer:
    """Train a fold, whatever has to come before included."""
    from medssm.core.files import read_json
    from medssm.fields.ecg.model_folder import CALIBRATION
    from medssm.fields.ecg.story import train_study

    model = train_study(request)
    folds: dict[str, Any] = {}
    for folder in sorted(model.glob("fold_*")):
        file = folder / CALIBRATION
        folds[folder.name] = read_json(file)["held_back"] if file.is_file() else None
    facts = {"dataset": request.dataset, "model": str(model), "folds": folds}
    lines = [
        f"{name}: " + ", ".join(f"{key} {_number(value)}" for key, value in each.items())
        for name, each in folds.items()
        if each
    ]
    lines.append("held-back figures were also used for thresholds and calibration: they flatter.")
    following = ("medssm", "predict", str(model), "-i", "RECORDS", "-o", "PREDICTIONS")
    return Answer(facts, lines, [model], following)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def run_predict(request: PredictRequest) -> Answer:
    """Read out records."""
    from medssm.fields.ecg.predict import PredictConfig, facts, predict

    wishes: dict[str, Any] = {
        "model": request.model,
        "input": request.input,
        "output": request.output,
    }
    if request.force:
        wishes["overwrite"] = True
    report = predict(make(PredictConfig, wishes | parse_values(request.overrides), "predict"))
    following = ("medssm", "evaluate", str(report.output))
    return Answer(facts(report), [report.line()], [report.output], following, report.exit_code)


def run_evaluate(request: EvaluateRequest) -> Answer:
    """Score predictions as the Challenges do."""
    from medssm.fields.ecg.evaluate import EvaluateConfig, evaluate

    wishes: dict[str, Any] = {"predictions": request.predictions}
    for name in ("references", "output", "against"):
        value = getattr(request, name)
        if value is not None:
            wishes[name] = value
    report = evaluate(make(EvaluateConfig, wishes | parse_values(request.overrides), "evaluate"))
    return Answer(report.facts(), report.lines(), [report.report], (), report.exit_code)


def run_export(request: ExportRequest) -> Answer:
    """Hand a model over as a program of calibrated probabilities."""
    from medssm.fields.ecg.export import export

    return export(request)


def run_demo(request: DemoRequest) -> Answer:
    """The whole story on synthetic records."""
    from medssm.fields.ecg.demo import demo

    return demo(request)


def run_import(request: ImportRequest) -> Answer:
    """Bring a folder of records under the home folder; nothing is copied."""
    from medssm.fields.ecg.imports import import_ecg

    return import_ecg(request)


def recognise(folder: Path) -> str | None:
    """Whether a folder holds records of electrocardiograms."""
    from medssm.fields.ecg.imports import recognise as known

    return known(folder)


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
