"""The stages of masked pre-training as the command line asks for them."""

from pathlib import Path

from medssm.runs.answer import Answer
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
    """Index an archive and choose its volumes."""
    from medssm.fields.pretraining.archive import plan_pretraining
    from medssm.fields.pretraining.story import train_config

    train_config(request.overrides)
    return plan_pretraining(request)


def run_preprocess(request: StudyRequest) -> Answer:
    """Fill the store of volumes."""
    from medssm.fields.pretraining.archive import preprocess_pretraining
    from medssm.fields.pretraining.story import train_config

    train_config(request.overrides)
    return preprocess_pretraining(request)


def run_train(request: StudyRequest) -> Answer:
    """Pre-train, whatever has to come before included."""
    from medssm.core.files import read_json
    from medssm.fields.pretraining.model_folder import FOLD
    from medssm.fields.pretraining.story import train_study
    from medssm.fields.pretraining.train import VALIDATION
    from medssm.training.pretrained import ENCODER

    model = train_study(request)
    told = read_json(model / FOLD / VALIDATION)
    content = read_json(model / "model.json")
    facts = {"dataset": content["dataset"], "model": str(model), **told}
    lines = []
    if "ratio" in told:
        lines.append(
            f"held-back masked loss {told['masked_loss']:.4f}, {told['ratio']:.3f} of predicting "
            f"each cell's mean; {told['crops_per_second']:.1f} crops a second"
        )
    lines.append(f"start segmentation from it with: init={model}")
    following = ("medssm", "predict", str(model), "-o", "EMBEDDINGS", "cases=validation")
    return Answer(facts, lines, [model, model / ENCODER], following)


def run_predict(request: PredictRequest) -> Answer:
    """Write embeddings and reconstructions."""
    from medssm.fields.pretraining.predict import predict_pretraining

    return predict_pretraining(request)


def run_evaluate(request: EvaluateRequest) -> Answer:
    """Score reconstructions and write the report."""
    from medssm.fields.pretraining.evaluate import evaluate_pretraining

    return evaluate_pretraining(request)


def run_export(request: ExportRequest) -> Answer:
    """Hand the encoder over."""
    from medssm.fields.pretraining.export import export_encoder

    return export_encoder(request)


def run_demo(request: DemoRequest) -> Answer:
    """The whole story on synthetic volumes."""
    from medssm.fields.pretraining.demo import demo

    return demo(request)


def run_import(request: ImportRequest) -> Answer:
    """Register an archive where it lies."""
    from medssm.fields.pretraining.archive import import_archive

    return import_archive(request)


def recognise(folder: Path) -> str | None:
    """Whether a raw folder is an archive of scans."""
    from medssm.fields.pretraining.archive import recognise as of_archive

    return of_archive(folder)


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
