"""The stages of reconstruction as the command line asks for them."""

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
    from medssm.fields.reconstruction.plan import plan_reconstruction

    return plan_reconstruction(request)


def run_preprocess(request: StudyRequest) -> Answer:
    """Fill the cache, and reconstruct what is undersampled by a classical method."""
    from medssm.fields.reconstruction.preprocess import preprocess_reconstruction

    return preprocess_reconstruction(request)


def run_train(request: StudyRequest) -> Answer:
    """Train a fold, whatever has to come before included."""
    from medssm.core.files import read_json
    from medssm.fields.reconstruction.story import train_study

    model = train_study(request)
    folds = {
        folder.name: read_json(folder / "validation.json")
        for folder in sorted(model.glob("fold_*"))
        if (folder / "validation.json").is_file()
    }
    rows = [[name, key, f"{value:.4f}"] for name, scores in folds.items()
            for key, value in scores.items() if key != "score"]  # fmt: skip
    facts = {"dataset": request.dataset, "model": str(model), "folds": folds}
    following = ("medssm", "predict", str(model), "-i", "KSPACE", "-o", "PREDICTIONS")
    lines = table(rows, ("fold", "held-back slices", "")) if rows else []
    return Answer(facts, lines, [model], following)


def run_predict(request: PredictRequest) -> Answer:
    """Reconstruct k-space.

    Raises:
        UsageError: No input was named.
    """
    if request.input is None:
        raise UsageError("medssm predict MODEL -i KSPACE -o FOLDER: the input is missing.")
    from medssm.fields.reconstruction.baseline_prediction import is_baseline, predict_baseline

    if is_baseline(request.model):
        return predict_baseline(request)
    from medssm.fields.reconstruction.predict import predict
    from medssm.fields.reconstruction.predict_config import PredictConfig

    wishes: dict[str, Any] = {
        "model": request.model,
        "input": request.input,
        "output": request.output,
        "force": request.force,
    }
    wishes |= parse_values(request.overrides)
    return predict(make(PredictConfig, wishes, "predict")).answer(request.output)


def run_evaluate(request: EvaluateRequest) -> Answer:
    """Score reconstructions and report."""
    from medssm.fields.reconstruction.evaluate import evaluate_reconstruction

    return evaluate_reconstruction(request)


def run_export(request: ExportRequest) -> Answer:
    """Hand a model over: a program, plain weights, or a checkpoint for DIRECT."""
    from medssm.fields.reconstruction.export import export

    return export(request)


def run_demo(request: DemoRequest) -> Answer:
    """The whole story on simulated k-space."""
    from medssm.fields.reconstruction.demo import demo

    return demo(request)


def run_import(request: ImportRequest) -> Answer:
    """Register k-space where it lies."""
    from medssm.fields.reconstruction.importing import import_kspace

    return import_kspace(request)


def recognise(folder: Path) -> str | None:
    """Which kind of import a raw folder is."""
    from medssm.fields.reconstruction.importing import recognise as recognise_kspace

    return recognise_kspace(folder)


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
