"""The folder of predictions: Challenge CSV a record, summary tables, findings, pages."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import read_json, write_json, write_text
from medssm.core.inert import file_name
from medssm.data.ecg.challenge_outputs import write_challenge_output
from medssm.data.findings import Finding
from medssm.fields.ecg.model_folder import TrainedModel
from medssm.fields.ecg.recordings import Recording
from medssm.fields.ecg.saliency import saliency_of
from medssm.fields.ecg.windows import Reader, WindowPlan

PageName = Literal["auto", "none", "pdf", "png", "both"]
PREDICTIONS = "predictions.json"
_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "none": (), "pdf": (".pdf",), "png": (".png",), "both": (".pdf", ".png"),
}  # fmt: skip
_FINDING_COLUMNS = ("case", "file", "problem", "severity", "found", "expected", "remedy")


@dataclass(frozen=True)
class OutputSettings:
    """What is written beside the tables.

    Args:
        dialect: Of the Challenge's CSV.
        pages: Which pages.
        saliency: What colours the leads.
    """

    dialect: Literal[2020, 2021]
    pages: PageName
    saliency: str


@dataclass(frozen=True)
class RecordResult:
    """What was found in one record.

    Args:
        recording: The record.
        probabilities: Calibrated.
        decided: Yes or no.
        timeline: Start in seconds and probabilities of every window of a long record.
    """

    recording: Recording
    probabilities: np.ndarray
    decided: np.ndarray
    timeline: tuple[Sequence[float], np.ndarray] | None = None


@dataclass
class OutputFolder:
    """A folder that predictions go to, and what is known of those in it."""

    folder: Path
    model: TrainedModel
    settings: OutputSettings
    key: str
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    learned_from: frozenset[str] = frozenset()

    @classmethod
    def open(
        cls, folder: Path, model: TrainedModel, settings: OutputSettings, key: str
    ) -> "OutputFolder":
        """Begin, or go on where an earlier call left off."""
        file = folder / PREDICTIONS
        cases: dict[str, dict[str, Any]] = {}
        if file.is_file():
            content = read_json(file)
            cases = dict(content.get("cases", {})) if content.get("field") == "ecg" else {}
            for name in cases:
                file_name(name, "the name of a record", file)
        return cls(folder, model, settings, key, cases, learned_from=model.learned_from())

    def name_of(self, file: Path) -> str:
        """The name of a file's record; with its folder where another file has the same."""
        known = self.cases.get(file.stem)
        taken = known is not None and Path(known["file"]) != file.absolute()
        return f"{file.parent.name}__{file.stem}" if taken else file.stem

    def finished(self, file: Path, input_key: str) -> str | None:
        """The name of a record that is there whole, made by this model from this input."""
        name = self.name_of(file)
        case = self.cases.get(name)
        if case is None or case["key"] != self.key or case["input"] != input_key:
            return None
        if not all((self.folder / each).is_file() for each in case["outputs"]):
            return None
        self.findings += [Finding(**each) for each in case["findings"]]
        return name

    def add_finding(self, finding: Finding) -> None:
        """Take a finding about a file that could not be used."""
        self.findings.append(finding)
        self.cases.pop(finding.case, None)

    def add(self, result: RecordResult, reader: Reader) -> str:
        """Write what belongs to one record; returns its name."""
        recording = result.recording
        name = self.name_of(recording.file)
        file = self.folder / f"{name}.csv"
        classes = self.model.plan.classes
        write_challenge_output(
            file, classes, result.decided, result.probabilities, self.settings.dialect
        )
        outputs = [file.name]
        if result.timeline is not None:
            outputs.append(self._write_timeline(name, *result.timeline))
        outputs += self._draw(name, result, reader)
        self.findings += recording.findings
        signal = recording.signal
        self.cases[name] = {
            "file": str(recording.file.absolute()),
            "key": self.key,
            "input": recording.key,
            "outputs": outputs,
            "source": signal.source,
            "patient": signal.patient,
            "age": signal.age,
            "sex": signal.sex,
            "codes": None if signal.codes is None else list(signal.codes),
            "learned_from": signal.sha256 in self.learned_from,
            "sha256": signal.sha256,
            "seconds": round(recording.seconds, 3),
            "absent_leads": _absent(recording),
            "probabilities": [float(f"{value:.9g}") for value in result.probabilities],
            "decided": [bool(each) for each in result.decided],
            "findings": [asdict(each) for each in recording.findings],
        }
        return name

    def _write_timeline(self, name: str, seconds: Sequence[float], rows: np.ndarray) -> str:
        file = f"{name}.windows.csv"
        header = ["start_s", *(each.code for each in self.model.plan.classes)]
        lines = [
            [f"{start:.2f}", *(f"{value:.6g}" for value in row)]
            for start, row in zip(seconds, rows, strict=True)
        ]
        write_text(self.folder / file, _csv([header, *lines]))
        return file

    def _draw(self, name: str, result: RecordResult, reader: Reader) -> list[str]:
        endings = _ENDINGS[self.settings.pages]
        if not endings:
            return []
        from medssm.fields.ecg.pages import page_of
        from medssm.reports.ecg_page import render_page

        recording = result.recording
        window = WindowPlan(self.model.plan.length, most=1)
        salient = saliency_of(
            reader, recording.prepared(), recording.about, window, result.decided,
            self.settings.saliency,
        )  # fmt: skip
        page = page_of(name, result, self.model, salient)
        written = []
        for ending in endings:
            file = Path("pages") / f"{name}{ending}"
            render_page(page, self.folder / file)
            written.append(str(file))
        return written

    def write(self) -> None:
        """Write the tables over all records that are in the folder."""
        classes = self.model.plan.classes
        thresholds = self.model.decision.thresholds
        content = {
            "field": "ecg",
            "model": str(self.model.folder.absolute()),
            "dialect": self.settings.dialect,
            "classes": [
                {**asdict(each), "threshold": float(cut)}
                for each, cut in zip(classes, thresholds, strict=True)
            ],
            "cases": self.cases,
        }
        write_json(self.folder / PREDICTIONS, content)
        write_json(self.folder / "summary.json", self._summary(thresholds))
        rows: list[Sequence[Any]] = [
            ("record", "snomed", "abbreviation", "name", "probability", "threshold", "decided",
             "warnings")
        ]  # fmt: skip
        for record, found in self._summary(thresholds).items():
            rows += [
                (record, each["snomed"], each["abbreviation"], each["name"], each["probability"],
                 each["threshold"], int(each["decided"]), "; ".join(found["warnings"]))
                for each in found["classes"]
            ]  # fmt: skip
        write_text(self.folder / "summary.csv", _csv(rows))
        table = [
            _FINDING_COLUMNS,
            *([getattr(each, c) for c in _FINDING_COLUMNS] for each in self.findings),
        ]
        write_text(self.folder / "findings.csv", _csv(table))

    def _summary(self, thresholds: np.ndarray) -> dict[str, Any]:
        classes = self.model.plan.classes
        return {
            name: {
                "file": case["file"],
                "warnings": [
                    *(f"lead {lead} missing or flat" for lead in case["absent_leads"]),
                    *(f"{each['problem']}: {each['found']}" for each in case["findings"]),
                ],
                "classes": [
                    {
                        "snomed": each.code,
                        "abbreviation": each.abbreviation,
                        "name": each.name,
                        "probability": value,
                        "threshold": round(float(cut), 6),
                        "decided": decided,
                    }
                    for each, value, cut, decided in zip(
                        classes, case["probabilities"], thresholds, case["decided"], strict=True
                    )
                ],
            }
            for name, case in sorted(self.cases.items())
        }


def read_predictions(folder: Path) -> dict[str, Any]:
    """What predictions.json of a folder says.

    Raises:
        BadDataError: It is missing, or of another field; a record's name is no name of a file.
    """
    content: dict[str, Any] = read_json(folder / PREDICTIONS)
    if content.get("field") != "ecg":
        raise BadDataError(
            f"{folder / PREDICTIONS}: of the field {content.get('field')!r}. Expected 'ecg'."
        )
    for name in content.get("cases", {}):
        file_name(name, "the name of a record", folder / PREDICTIONS)
    return content


def _absent(recording: Recording) -> list[str]:
    leads = recording.plan.leads
    return [lead for lead, there in zip(leads, recording.ready.present, strict=True) if not there]


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
