"""Synthetic slides from a seed, then the whole story on them: from slide to heatmap."""

from medssm.core.log import say
from medssm.runs.answer import Answer
from medssm.runs.field import DemoRequest, StudyRequest

_SLIDES, _UNSEEN = 24, 8
# what two cores finish in about three minutes; an encoder that learnt nothing still tells colours
_SHORT = (
    "preprocess.encoder.name=resnet18",
    "preprocess.encoder.weights=random",
    "preprocess.encoder.input_px=64",
    "preprocess.tiles.size_px=128",
    "planner.folds=3",
    "network.width=64",
    "network.depth=1",
    "network.attention_width=32",
    "standardise=true",
    "batch_size=4",
    "optimizer.lr=0.001",
    "trainer.max_epochs=30",
)


def demo(request: DemoRequest) -> Answer:
    """Make slides, encode and train on them, read unseen ones, draw heatmaps, evaluate."""
    from medssm.data.slides.synthetic import make_synthetic_slides
    from medssm.fields.pathology.evaluate import EvaluateConfig, evaluate, lines_of
    from medssm.fields.pathology.imports import import_source
    from medssm.fields.pathology.predict import PredictConfig, predict
    from medssm.fields.pathology.story import open_study, train_study

    source = request.home / "demo" / f"pathology_{request.seed}"
    places = {"train": (_SLIDES, 2 * request.seed), "unseen": (_UNSEEN, 2 * request.seed + 1)}
    for part, (count, seed) in places.items():
        # the table is written last: with it the slides are whole
        if not (source / part / "labels.csv").is_file():
            say("Making %d synthetic slides (%s), seed %d.", count, part, seed)
            make_synthetic_slides(source / part, count, seed)
    name = "Dataset997_SyntheticSlides" + (f"_{request.seed}" if request.seed else "")
    workspace = import_source("slides", source / "train", request.home, name, {})
    overrides = (*_SHORT, f"seed={request.seed}", *request.overrides)
    trained = train_study(open_study(StudyRequest(workspace.dataset, request.home, overrides)))
    output = request.home / "predictions" / workspace.dataset
    unseen = source / "unseen"
    report = predict(
        PredictConfig(
            model=trained.model, input=unseen, output=output, table=str(unseen / "labels.csv")
        )
    )
    found = evaluate(EvaluateConfig(predictions=output))
    lines = [
        *lines_of(found),
        "These slides are synthetic: they prove that the machinery works, not that it helps.",
        f"report: {found.report}; heatmaps: {output / 'heatmaps'}; QuPath: {output / 'qupath'}",
    ]
    facts = {**found.scores.plain(), "model": str(trained.model), "predictions": str(output)}
    following = ("medssm", "import", "slides", "YOUR_FOLDER", "labels=labels.csv")
    return Answer(facts, lines, [found.report], following, report.exit_code)
