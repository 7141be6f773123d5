"""A synthetic data set from a seed, then the whole story on it."""

from pathlib import Path

from medssm.core.log import say
from medssm.runs.answer import Answer
from medssm.runs.field import DemoRequest

_DATASET = "Dataset999_Phantom"
# what two cores finish in about three minutes
_SHORT = (
    "budget=cpu",
    "network.init_filters=8",
    "network.blocks_down=[1,1,1,1]",
    "trainer.max_time=170s",
    "trainer.steps_per_epoch=50",
    "trainer.ema_decay=0.98",
    "optimizer.lr=0.003",
    "schedule.warmup_steps=20",
    "planner.max_voxels_3d=65536",
)


def demo(request: DemoRequest) -> Answer:
    """Make phantoms, train on them, predict held-back ones, evaluate, report."""
    from medssm.data.phantom import make_phantom_dataset
    from medssm.fields.segmentation.evaluate import EvaluateConfig, evaluate
    from medssm.fields.segmentation.predict import PredictConfig, predict
    from medssm.fields.segmentation.story import open_study, train_study

    seed = request.seed
    dataset = _DATASET if seed == 0 else f"{_DATASET}_{seed}"
    raw = request.home / "raw" / dataset
    # dataset.json is written last: with it the phantoms are whole, and a demo that was stopped
    # goes on with the same ones
    if not (raw / "dataset.json").is_file():
        say("Making 20 phantoms to learn from and 5 to be tried on, seed %d.", seed)
        make_phantom_dataset(raw, cases=20, held_back=5, seed=seed)
    overrides = [*_SHORT, f"seed={seed}", *request.overrides]
    study = open_study(str(raw), request.home, overrides)
    model = train_study(study)
    output = request.home / "predictions" / dataset
    predict(PredictConfig(model=model, input=raw / "imagesTs", output=output))
    report = evaluate(EvaluateConfig(predictions=output, references=raw / "labelsTs"))
    lines = [
        *report.lines(),
        f"foreground Dice on the held-back phantoms: {report.mean_dice:.4f}",
        f"report: {report.report}",
    ]
    facts = {**report.facts(), "model": str(model), "predictions": str(output)}
    following = ("medssm", "train", "YOUR_FOLDER")
    return Answer(facts, lines, [Path(report.report)], following, report.exit_code)
