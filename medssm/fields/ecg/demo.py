"""Synthetic records from a seed, then the whole story on them."""

from pathlib import Path

from medssm.core.log import say
from medssm.runs.answer import Answer
from medssm.runs.field import DemoRequest, ImportRequest, StudyRequest

_RECORDS, _UNSEEN = 400, 200
# what two cores finish in about two minutes
_SHORT = ("network=ecg_vim_tiny", "trainer.max_time=90s", "trainer.ema_decay=0.99")


def demo(request: DemoRequest) -> Answer:
    """Make records, train on them, predict unseen ones, evaluate, report."""
    from medssm.data.ecg.synthetic import make_synthetic_records
    from medssm.fields.ecg.evaluate import EvaluateConfig, evaluate
    from medssm.fields.ecg.imports import import_ecg
    from medssm.fields.ecg.predict import PredictConfig, predict
    from medssm.fields.ecg.story import train_study

    source = request.home / "demo" / f"ecg_{request.seed}"
    train, unseen = source / "train", source / "unseen"
    say(
        "Making %d synthetic records to learn from and %d to be tried on, seed %d.",
        _RECORDS, _UNSEEN, request.seed,
    )  # fmt: skip
    make_synthetic_records(train, _RECORDS, 2 * request.seed, "section11")
    make_synthetic_records(unseen, _UNSEEN, 2 * request.seed + 1, "section11")
    name = "Dataset998_SyntheticECG" + (f"_{request.seed}" if request.seed else "")
    imported = import_ecg(ImportRequest("ecg", train, request.home, name))
    dataset = str(imported.facts["dataset"])
    overrides = (*_SHORT, f"seed={request.seed}", *request.overrides)
    model = train_study(StudyRequest(dataset, request.home, overrides))
    output = request.home / "predictions" / dataset
    predict(PredictConfig(model=model, input=unseen, output=output, pages="none"))
    first = sorted(unseen.glob("*.hea"))[0]
    predict(PredictConfig(model=model, input=first, output=output / "one", pages="both"))
    report = evaluate(EvaluateConfig(predictions=output, references=unseen))
    lines = [
        *report.lines(),
        "These records are synthetic: they prove that the machinery works, not that it helps.",
        f"report: {report.report}; a page: {output / 'one' / 'pages'}",
    ]
    facts = {**report.facts(), "model": str(model), "predictions": str(output)}
    following = ("medssm", "train", "YOUR_FOLDER")
    return Answer(facts, lines, [Path(report.report)], following, report.exit_code)
