"""What is true of predicted records: labels from headers, from other files, or from predicting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.log import warn
from medssm.data.ecg.challenge_outputs import read_challenge_output, read_labels
from medssm.data.ecg.classes import (
    SOURCES,
    EcgClass,
    challenge_classes,
    challenge_weights,
    known_mask,
    targets,
)
from medssm.data.ecg.read import find_records, read_record
from medssm.metrics.challenge import ChallengeScores, challenge_scores

SINUS = "426783006"


@dataclass(frozen=True)
class Scored:
    """Labelled records with what was said of them, under the classes that a year scores.

    Args:
        year: The rules.
        names: Records.
        cases: What predictions.json says of each.
        classes: The scored classes.
        truth: What is so.
        decided: Yes or no.
        probabilities: How sure.
        known: Which classes the record's source annotated.
        unlabelled: Predicted records without a label.
        missing: Labelled records without a prediction.

    Shape:
        truth, decided, known: (N, K) bool, probabilities: (N, K).
    """

    year: Literal[2020, 2021]
    names: tuple[str, ...]
    cases: Sequence[Mapping[str, Any]]
    classes: tuple[EcgClass, ...]
    truth: np.ndarray
    decided: np.ndarray
    probabilities: np.ndarray
    known: np.ndarray
    unlabelled: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def scores(self, rows: np.ndarray | None = None) -> ChallengeScores:
        """The official measures of all records, or of some."""
        rows = np.arange(len(self.names)) if rows is None else rows
        sinus = next(i for i, each in enumerate(self.classes) if SINUS in each.codes)
        return challenge_scores(
            self.truth[rows], self.decided[rows], self.probabilities[rows],
            challenge_weights(self.year), sinus, self.year,
        )  # fmt: skip

    @property
    def learned_from(self) -> tuple[str, ...]:
        """Records that the model learned from or was calibrated on."""
        pairs = zip(self.names, self.cases, strict=True)
        return tuple(name for name, case in pairs if case.get("learned_from"))

    @property
    def twins(self) -> tuple[str, ...]:
        """Records whose samples came before under another name."""
        seen: set[str] = set()
        found = []
        for name, case in zip(self.names, self.cases, strict=True):
            samples = str(case.get("sha256") or name)
            if samples in seen:
                found.append(name)
            seen.add(samples)
        return tuple(found)

    @property
    def sources(self) -> np.ndarray:
        """Where each record comes from."""
        return np.array([str(case.get("source") or "unknown") for case in self.cases])

    @property
    def patients(self) -> np.ndarray:
        """Each record's patient; a record without one stands for itself."""
        return np.array(
            [
                str(case.get("patient") or f"record {name}")
                for name, case in zip(self.names, self.cases, strict=True)
            ]
        )


def scored_records(
    predictions: Path,
    content: Mapping[str, Any],
    references: Path | None,
    year: Literal[2020, 2021] | None = None,
) -> Scored:
    """Join predictions with labels.

    Args:
        predictions: The folder that predict wrote.
        content: Its predictions.json.
        references: A folder of labelled records or headers; None takes what predict read.
        year: The rules; None takes those of the dialect that was written.

    Raises:
        BadDataError: No record has a label, or a result file cannot be read.
    """
    cases: Mapping[str, Mapping[str, Any]] = content["cases"]
    rules: Literal[2020, 2021] = year or content["dialect"]
    labels = {name: case["codes"] for name, case in cases.items()}
    missing: tuple[str, ...] = ()
    if references is not None:
        found = labels_of_folder(references)
        missing = tuple(sorted(set(found) - set(cases)))
        labels = {name: found.get(name) for name in cases}
    names = tuple(sorted(name for name, codes in labels.items() if codes is not None))
    if not names:
        where = references or f"{predictions} (what predict read)"
        raise BadDataError(
            f"{where}: none of {len(cases)} predicted records has a label. Expected #Dx lines in "
            "headers of the same names; give their folder with -r REFERENCES."
        )
    classes = challenge_classes(rules)
    answers = [read_challenge_output(predictions / f"{each}.csv", classes, rules) for each in names]
    return Scored(
        year=rules,
        names=names,
        cases=[cases[name] for name in names],
        classes=classes,
        truth=np.array([targets(labels[name] or (), classes) for name in names]) > 0,
        decided=np.array([each[0] for each in answers]),
        probabilities=np.array([each[1] for each in answers]),
        known=np.array([_known(cases[name], classes) for name in names]),
        unlabelled=tuple(sorted(set(cases) - set(names))),
        missing=missing,
    )


def _known(case: Mapping[str, Any], classes: tuple[EcgClass, ...]) -> np.ndarray:
    source = str(case.get("source") or "")
    return known_mask(source, classes) if source in SOURCES else np.ones(len(classes), bool)


def labels_of_folder(folder: Path) -> dict[str, Sequence[str] | None]:
    """The codes of every record of a folder, by its name; None where it has no label.

    Raises:
        BadDataError: The folder is not there, or holds no record.
    """
    if not folder.is_dir():
        raise BadDataError(f"{folder}: there is no such folder. Expected labelled records.")
    headers = sorted(folder.rglob("*.hea"))
    if headers:
        return {each.stem: read_labels(each) for each in headers}
    found: dict[str, Sequence[str] | None] = {}
    for file in find_records(folder):
        try:
            found[file.stem] = read_record(file).codes
        except BadDataError as error:
            warn("%s", error)
    if not found:
        raise BadDataError(f"{folder}: no record in it. Expected headers or records with labels.")
    return found
