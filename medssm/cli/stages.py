"""The verbs that run a stage: finds the field, hands the words over, completes the answer."""

import argparse
from dataclasses import replace
from pathlib import Path

from medssm.cli.answer import Answer
from medssm.cli.verbs import EXPORT_KINDS, IMPORT_KINDS
from medssm.core.errors import UsageError
from medssm.fields.find import field_of_model, field_of_predictions, field_of_study, open_field
from medssm.runs.field import (
    DemoRequest,
    EvaluateRequest,
    ExportRequest,
    ImportRequest,
    PredictRequest,
    StudyRequest,
)

# flags of `import` that are no part of every import
_IMPORT_FLAGS = (
    "copy", "channels", "labels", "patient", "patients", "size", "trust", "force",
)  # fmt: skip
# flags that only imports of models read, and which of these
_MODEL_FLAGS = {
    "trust": ("nnunet-model", "checkpoint"),
    "force": ("nnunet-model", "package"),
}
# verbs that look under the home folder
_AT_HOME = ("plan", "preprocess", "train")
# the word that asks `export` for plans instead of a model
PLANS = "plans"


def run_import(arguments: argparse.Namespace) -> Answer:
    """Bring a data set or a model under the home folder, or a checkpoint under our names.

    Raises:
        UsageError: A word or flag that only a checkpoint or a model takes.
    """
    for name, kinds in _MODEL_FLAGS.items():
        if getattr(arguments, name) and arguments.kind not in kinds:
            raise UsageError(f"--{name} belongs to medssm import {' | '.join(kinds)}.")
    if arguments.kind == "checkpoint":
        from medssm.cli.checkpoint import run_import_checkpoint

        return run_import_checkpoint(arguments)
    if arguments.kind == "package":
        from medssm.cli.packages import run_import_package

        return run_import_package(arguments)
    words = tuple(arguments.overrides)
    if arguments.file is not None:
        # the parser takes the first key=value for the file that only a checkpoint has
        if "=" not in arguments.file:
            raise UsageError(
                f"medssm import {arguments.kind} SOURCE: unexpected word {arguments.file!r}."
            )
        words = (arguments.file, *words)
    field = open_field(IMPORT_KINDS[arguments.kind], f"import {arguments.kind}")
    flags = {name: getattr(arguments, name) for name in _IMPORT_FLAGS if getattr(arguments, name)}
    answer = field.import_dataset(
        ImportRequest(
            arguments.kind, Path(arguments.source), arguments.home, arguments.name, words, flags
        )
    )  # fmt: skip
    return _at_home(answer, arguments)


def run_plan(arguments: argparse.Namespace) -> Answer:
    """Check and plan a data set."""
    field, request = field_of_study(_study(arguments))
    return _at_home(field.plan(request), arguments)


def run_preprocess(arguments: argparse.Namespace) -> Answer:
    """Fill the store."""
    field, request = field_of_study(_study(arguments))
    flags = {"backend": arguments.backend, "shard": arguments.shard}
    words = tuple(f"preprocess.{name}={value}" for name, value in flags.items() if value)
    request = replace(request, overrides=(*request.overrides, *words))
    return _at_home(field.preprocess(request), arguments)


def run_train(arguments: argparse.Namespace) -> Answer:
    """Train, whatever has to come before included."""
    field, request = field_of_study(_study(arguments))
    return _at_home(field.train(request), arguments)


def run_predict(arguments: argparse.Namespace) -> Answer:
    """Apply a model."""
    model = Path(arguments.model)
    request = PredictRequest(
        model,
        Path(arguments.input) if arguments.input else None,
        Path(arguments.output),
        arguments.home,
        tuple(arguments.overrides),
        arguments.force,
    )
    return field_of_model(model).predict(request)


def run_evaluate(arguments: argparse.Namespace) -> Answer:
    """Score predictions."""
    references, output, against = (
        Path(value) if value is not None else None
        for value in (arguments.references, arguments.output, arguments.against)
    )
    predictions = Path(arguments.predictions)
    request = EvaluateRequest(
        predictions, references, output, against, arguments.home, tuple(arguments.overrides)
    )
    return field_of_predictions(predictions).evaluate(request)


def run_export(arguments: argparse.Namespace) -> Answer:
    """Hand a model over to other programs.

    Raises:
        UsageError: No such kind, or the model's field has no exit yet.
    """
    if arguments.to not in (None, *EXPORT_KINDS):
        raise UsageError(f"--to {arguments.to}: expected one of {', '.join(EXPORT_KINDS)}.")
    if arguments.model == PLANS and not Path(PLANS).exists():
        return _export_plans(arguments)
    if arguments.to == "package":
        from medssm.cli.packages import run_export_package

        return run_export_package(arguments)
    model = Path(arguments.model)
    field = field_of_model(model)
    if field.export is None:
        raise UsageError(f"{model}: models of its field cannot be exported yet.")
    return field.export(
        ExportRequest(
            model, Path(arguments.output), arguments.to or "bundle", arguments.home,
            arguments.embed, tuple(arguments.overrides), arguments.force,
        )
    )  # fmt: skip


def _export_plans(arguments: argparse.Namespace) -> Answer:
    """Hand the plans of a data set over, with one of our networks in them."""
    from medssm.fields.segmentation.export_plans import export_plans

    if arguments.to not in (None, "nnunet") or arguments.embed:
        raise UsageError("medssm export plans: takes --to nnunet alone.")
    return export_plans(
        ExportRequest(
            Path(arguments.output), Path(), "nnunet", arguments.home, False,
            tuple(arguments.overrides), arguments.force,
        )
    )  # fmt: skip


def run_demo(arguments: argparse.Namespace) -> Answer:
    """The whole story of a field on synthetic data."""
    if not (arguments.seed or "0").isdecimal():
        raise UsageError(f"--seed {arguments.seed!r}: expected a whole number, 0 or above.")
    field = open_field(arguments.field or "segmentation", "demo")
    request = DemoRequest(arguments.home, int(arguments.seed or 0), tuple(arguments.overrides))
    return field.demo(request)


def _study(arguments: argparse.Namespace) -> StudyRequest:
    return StudyRequest(
        arguments.dataset,
        arguments.home,
        tuple(arguments.overrides),
        arguments.skip_bad,
        arguments.force,
    )


def _at_home(answer: Answer, arguments: argparse.Namespace) -> Answer:
    """Name the home folder where the next command would look elsewhere without it."""
    from medssm.cli.main import home_folder

    words = tuple(answer.next_command)
    home = arguments.home
    if home == home_folder(None) or not {*words[1:2]} & {*_AT_HOME}:
        return answer
    return replace(answer, next_command=(*words, "--home", str(home)))
