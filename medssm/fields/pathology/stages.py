"""The stages of pathology as the command line asks for them."""

from pathlib import Path
from typing import Any

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
    """Join files, labels and patients, and cut the folds."""
    from medssm.fields.pathology.plan_file import PLAN
    from medssm.fields.pathology.story import ensure_plan, open_study

    study = open_study(request)
    made = ensure_plan(study)
    facts = {"dataset": study.workspace.dataset, **made.facts()}
    lines = table([[key, value] for key, value in facts.items()], ("plan", ""))
    lines += [f"not used: {name} ({why})" for name, why in made.excluded.items()]
    facts["not_used"] = dict(made.excluded)
    written = [study.workspace.preprocessed / PLAN]
    return Answer(facts, lines, written, request.following("preprocess"))


def run_preprocess(request: StudyRequest) -> Answer:
    """Encode slides, or look into the features that are given."""
    from medssm.core.errors import BadDataError
    from medssm.fields.pathology.store import FEATURES
    from medssm.fields.pathology.story import ensure_features, open_study

    study = open_study(request)
    plan, inventory, failed = ensure_features(study)
    facts = {
        "dataset": study.workspace.dataset,
        "slides": len(inventory.files),
        "tiles": sum(inventory.counts.values()),
        "width": inventory.width,
        "encoder": inventory.encoder,
        "without_tiles": len(plan.files) - len(inventory.files) - len(failed),
        "failed": failed,
    }
    lines = [
        f"{facts['slides']} slides with {facts['tiles']} tiles of {inventory.width} numbers "
        f"({inventory.encoder or 'encoder not named'})"
    ]
    lines += [f"failed: {name}: {why}" for name, why in failed.items()]
    written = [study.workspace.preprocessed / FEATURES]
    code = BadDataError.exit_code if failed else 0
    return Answer(facts, lines, written, request.following("train"), code)


def run_train(request: StudyRequest) -> Answer:
    """Train every fold, whatever has to come before included."""
    from medssm.fields.pathology.scoring import HEADER
    from medssm.fields.pathology.story import open_study, train_study

    study = open_study(request)
    trained = train_study(study)
    facts: dict[str, Any] = {"dataset": study.workspace.dataset, "model": str(trained.model)}
    lines: list[str] = []
    if trained.scores is not None:
        facts |= trained.scores.plain()
        lines = table(trained.scores.rows(), HEADER)
        lines += [f"{where}: {why}" for where, why in trained.scores.reasons.items()]
    following = ("medssm", "predict", str(trained.model), "-o", "PREDICTIONS", "cases=test")
    return Answer(facts, lines, [trained.model], following)


def run_predict(request: PredictRequest) -> Answer:
    """Answer bags."""
    from medssm.fields.pathology.predict import TABLE, PredictConfig, predict

    wishes: dict[str, Any] = {
        "model": request.model,
        "output": request.output,
        "input": request.input,
        **({"overwrite": True} if request.force else {}),
        **parse_values(request.overrides),
    }
    report = predict(make(PredictConfig, wishes, "predict"))
    facts = {
        "done": report.done,
        "skipped": report.skipped,
        "no_instances": report.empty,
        "failed": report.failed,
        "output": str(report.output),
    }
    references = () if wishes.get("cases") == "test" else ("-r", "LABELS.csv")
    following = ("medssm", "evaluate", str(report.output), *references)
    written = [report.output / TABLE]
    return Answer(facts, [report.line()], written, following, report.exit_code)


def run_evaluate(request: EvaluateRequest) -> Answer:
    """Score predictions."""
    from medssm.fields.pathology.evaluate import EvaluateConfig, evaluate, lines_of

    wishes: dict[str, Any] = {"predictions": request.predictions}
    for name in ("references", "output", "against"):
        value = getattr(request, name)
        if value is not None:
            wishes[name] = value
    wishes |= parse_values(request.overrides)
    found = evaluate(make(EvaluateConfig, wishes, "evaluate"))
    facts: dict[str, Any] = {**found.scores.plain(), "without_truth": found.without_truth}
    if found.comparison is not None:
        facts["against"] = {
            "difference": found.comparison.difference.mean,
            "wins": found.comparison.wins,
            "losses": found.comparison.losses,
            "p_value": found.comparison.p_value,
        }
    if found.groups is not None:
        facts["risk_groups"] = found.groups.plain()
    return Answer(facts, lines_of(found), [found.report])


def run_export(request: ExportRequest) -> Answer:
    """Hand a model over."""
    from medssm.fields.pathology.export import export

    return export(request)


def run_demo(request: DemoRequest) -> Answer:
    """The whole story on synthetic slides."""
    from medssm.fields.pathology.demo import demo

    return demo(request)


def run_import(request: ImportRequest) -> Answer:
    """Register slides, features or a table of bags."""
    from medssm.fields.pathology.imports import import_source

    words = parse_values(request.overrides)
    workspace = import_source(request.kind, request.source, request.home, request.name, words)
    facts = {"dataset": workspace.dataset, "kind": request.kind, "source": str(request.source)}
    lines = [f"{workspace.dataset}: {request.kind} of {request.source}"]
    following = ("medssm", "train", workspace.dataset)
    return Answer(facts, lines, [workspace.raw_folder / "dataset.json"], following)


def recognise(folder: Path) -> str | None:
    """The kind of a raw folder of slides or features with a table, or None."""
    from medssm.fields.pathology.imports import recognise as kind_of

    return kind_of(folder)


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
