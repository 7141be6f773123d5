"""What a field is: the same stages for each, told apart by what they are asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medssm.runs.answer import Answer


@dataclass(frozen=True)
class StudyRequest:
    """What plan, preprocess and train are asked.

    Args:
        dataset: A folder, or a name or number under `home`.
        home: The folder for raw/, preprocessed/ and results/.
        overrides: key=value words.
        skip_bad: Leave out cases with errors instead of refusing the data set.
        force: Do it again even if the result is there and fits.
    """

    dataset: str
    home: Path
    overrides: tuple[str, ...] = ()
    skip_bad: bool = False
    force: bool = False

    def following(self, verb: str) -> tuple[str, ...]:
        """The command that goes on with this study; the command line adds its home."""
        flags = ("--skip-bad",) if self.skip_bad else ()
        return ("medssm", verb, self.dataset, *self.overrides, *flags)


@dataclass(frozen=True)
class PredictRequest:
    """What predict is asked.

    Args:
        model: A model folder.
        input: A file or a folder; None where an override names the cases.
        output: The folder for what is predicted.
        home: The folder for raw/, preprocessed/ and results/.
        overrides: key=value words.
        force: Do it again even if the result is there and fits.
    """

    model: Path
    input: Path | None
    output: Path
    home: Path
    overrides: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class EvaluateRequest:
    """What evaluate is asked.

    Args:
        predictions: A folder that predict wrote.
        references: What is true; None where the predictions say where it lies.
        output: The folder of the report; None takes a place in `predictions`.
        against: Another folder of predictions to compare with.
        home: The folder for raw/, preprocessed/ and results/.
        overrides: key=value words.
    """

    predictions: Path
    references: Path | None
    output: Path | None
    against: Path | None
    home: Path
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class DemoRequest:
    """What a demo is asked.

    Args:
        home: The folder for raw/, preprocessed/ and results/.
        seed: Of the synthetic data.
        overrides: key=value words.
    """

    home: Path
    seed: int = 0
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportRequest:
    """What an import is asked.

    Args:
        kind: How the source is laid out.
        source: Its folder.
        home: The folder for raw/, preprocessed/ and results/.
        name: DatasetNNN_Name; None makes it of the folder's name and a free number.
        overrides: key=value words.
        flags: The flags of the verb by name, for the kinds that know them.
    """

    kind: str
    source: Path
    home: Path
    name: str | None = None
    overrides: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportRequest:
    """What export is asked.

    Args:
        model: A model folder.
        output: The file or folder to write.
        kind: What to write, such as "bundle".
        home: The folder for raw/, preprocessed/ and results/.
        embed: Whether the network's code goes along.
        overrides: key=value words.
        force: Whether what is there at `output` makes way.
    """

    model: Path
    output: Path
    kind: str
    home: Path
    embed: bool = False
    overrides: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class Field:
    """The stages of one field.

    Args:
        plan: Checks a data set and decides.
        preprocess: Fills the store.
        train: Trains; what comes before is done when missing or stale.
        predict: Applies a model to new data.
        evaluate: Scores predictions and writes the report.
        demo: The whole story on synthetic data.
        import_dataset: Registers a data set where it lies.
        recognise: Says which kind of import a raw folder is, or None; it must be quick.
        export: Hands a model over to other programs; None where a field cannot yet.
    """

    plan: Callable[[StudyRequest], Answer]
    preprocess: Callable[[StudyRequest], Answer]
    train: Callable[[StudyRequest], Answer]
    predict: Callable[[PredictRequest], Answer]
    evaluate: Callable[[EvaluateRequest], Answer]
    demo: Callable[[DemoRequest], Answer]
    import_dataset: Callable[[ImportRequest], Answer]
    recognise: Callable[[Path], str | None]
    export: Callable[[ExportRequest], Answer] | None = None
