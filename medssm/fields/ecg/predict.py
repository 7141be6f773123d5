"""Predict: from files of any known format to the Challenge's CSV, tables and pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, sha256
from medssm.core.log import Progress, say, warn
from medssm.data.ecg.signal import RecordError
from medssm.data.findings import Finding
from medssm.fields.ecg.model_folder import Checkpoint, TrainedModel, open_model
from medssm.fields.ecg.outputs import OutputFolder, OutputSettings, PageName, RecordResult
from medssm.fields.ecg.recordings import Recording, find_inputs, open_recording
from medssm.fields.ecg.windows import Pool, Reader, WindowPlan
from medssm.inference.device import choose_device, describe_device

SaliencyName = Literal["none", "gradient", "integrated"]
_SOME_FAILED = 3


@dataclass(frozen=True)
class PredictConfig:
    """What a user may say about a prediction.

    Args:
        model: A model folder.
        output: The folder for what is found.
        input: A file, or a folder of files; None where `cases` says which.
        cases: Given files, or the records that the model's one fold held back.
        part: Which of those: what it was calibrated on, or what it never met.
        folds: Folds to use; None takes all.
        checkpoint: The weights of the end of training, or those that validated best.
        device: Where to compute.
        batch: Records at a time.
        dialect: Of the Challenge's CSV.
        windows: At most so many of a record, spread evenly; 0 takes all of them.
        overlap: Share of a window that the next one covers again.
        pool: How windows are joined.
        pages: Which pages to draw: "auto" draws both kinds for at most 20 records.
        saliency: What colours the leads on a page.
        strict: Refuse records with warnings too.
        overwrite: Predict again what is there and fits.
    """

    model: Path
    output: Path
    input: Path | None = None
    cases: Literal["files", "validation"] = "files"
    part: Literal["validation", "test"] = "validation"
    folds: tuple[int, ...] | None = None
    checkpoint: Checkpoint = "final"
    device: str = "auto"
    batch: int = 32
    dialect: Literal[2020, 2021] = 2021
    windows: int = 12
    overlap: float = 0.5
    pool: Pool = "mean"
    pages: PageName = "auto"
    saliency: SaliencyName = "gradient"
    strict: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"batch={self.batch}: expected 1 or more.")
        if (self.input is None) == (self.cases == "files"):
            raise UsageError("give -i RECORDS, or cases=validation without it.")


@dataclass(frozen=True)
class PredictReport:
    """How a prediction went.

    Args:
        output: The folder.
        done: Records predicted now.
        kept: Records that were there and fit.
        failed: Record or file to the reason.
    """

    output: Path
    done: tuple[str, ...]
    kept: tuple[str, ...]
    failed: dict[str, str]

    @property
    def exit_code(self) -> int:
        """0, or 3 where something could not be predicted."""
        return _SOME_FAILED if self.failed else 0

    def line(self) -> str:
        """The report in a line."""
        parts = [f"{len(self.done)} records predicted"]
        if self.kept:
            parts.append(f"{len(self.kept)} kept from before")
        if self.failed:
            parts.append(f"{len(self.failed)} failed (see findings.csv)")
        return ", ".join(parts)


def predict(config: PredictConfig) -> PredictReport:
    """Predict every record; those that cannot be read are told and passed over.

    Raises:
        BadDataError: No record at all could be predicted.
    """
    model = open_model(config.model, config.folds, config.checkpoint)
    files = model.held_back(config.part) if config.input is None else find_inputs(config.input)
    device = choose_device(config.device)
    reader = model.reader(device)
    settings = OutputSettings(config.dialect, _pages(config, len(files)), config.saliency)
    folder = OutputFolder.open(config.output, model, settings, _key(config, model))
    say("%d files, %d folds, on %s.", len(files), len(model.weights), describe_device(device))
    bar = Progress(len(files), "predict")
    done: list[str] = []
    kept: list[str] = []
    failed: dict[str, str] = {}
    try:
        for group in _groups(files, config, folder, kept, failed, bar):
            done += _predict_group(group, reader, model, config, folder)
            bar.step(count=len(group))
    finally:
        folder.write()
    report = PredictReport(config.output, tuple(done), tuple(kept), failed)
    if failed and not (done or kept):
        raise BadDataError(
            f"{config.input or config.part}: none of {len(files)} files could be predicted. The "
            f"first: {next(iter(failed.values()))} All: {config.output / 'findings.csv'}"
        )
    return report


def _key(config: PredictConfig, model: TrainedModel) -> str:
    """What of model and settings decides the answer and the files written."""
    names = ("dialect", "windows", "overlap", "pool", "pages", "saliency", "strict")
    return digest([model.digest(), {name: getattr(config, name) for name in names}])


_AUTO_PAGES = 20


def _pages(config: PredictConfig, files: int) -> PageName:
    if config.pages != "auto":
        return config.pages
    return "both" if files <= _AUTO_PAGES else "none"


def input_hash(file: Path) -> str:
    """Hash of a record: of all files that have its name but for the ending."""
    parts = sorted(
        each for each in file.parent.glob(f"{file.stem}.*") if each.is_file() and each != file
    )
    return digest([sha256(each) for each in (file, *parts)])


def _groups(
    files: Sequence[Path],
    config: PredictConfig,
    folder: OutputFolder,
    kept: list[str],
    failed: dict[str, str],
    bar: Progress,
) -> Iterator[list[Recording]]:
    """Readable records in groups for a batch, long ones alone."""
    group: list[Recording] = []
    for file in files:
        key = input_hash(file)
        before = None if config.overwrite else folder.finished(file, key)
        if before is not None:
            kept.append(before)
            bar.step()
            continue
        try:
            recording = open_recording(file, folder.model.plan, key, strict=config.strict)
        except BadDataError as error:
            failed[folder.name_of(file)] = str(error)
            folder.add_finding(_refused(folder.name_of(file), file, error))
            warn("%s", error)
            bar.step()
            continue
        if recording.is_long:
            yield [recording]
            continue
        group.append(recording)
        if len(group) == config.batch:
            yield group
            group = []
    if group:
        yield group


def _refused(case: str, file: Path, error: BadDataError) -> Finding:
    if isinstance(error, RecordError):
        return replace(error.finding, case=case)
    return Finding(
        case, str(file), "unreadable", "error", str(error), "a record of a known format",
        "Repair or leave out the file.",
    )  # fmt: skip


def _predict_group(
    group: Sequence[Recording],
    reader: Reader,
    model: TrainedModel,
    config: PredictConfig,
    folder: OutputFolder,
) -> list[str]:
    plan = WindowPlan(model.plan.length, config.overlap, config.windows, config.pool)
    timeline = None
    if group[0].is_long:
        raw, seconds = _long(group[0], reader, plan)
        rows = [reader.joined(raw, plan)]
        timeline = (seconds, np.array([reader.joined(each, plan) for each in _each(raw)]))
    else:
        signals = [recording.prepared() for recording in group]
        rows = reader.records(signals, [each.about for each in group], plan)
    thresholds = model.decision.thresholds
    return [
        folder.add(RecordResult(recording, row, row >= thresholds, timeline), reader)
        for recording, row in zip(group, rows, strict=True)
    ]


def _each(raw: np.ndarray) -> Iterator[np.ndarray]:
    """One window at a time of (networks, W, K)."""
    for index in range(raw.shape[1]):
        yield raw[:, index : index + 1]


def _long(recording: Recording, reader: Reader, plan: WindowPlan) -> tuple[np.ndarray, list[float]]:
    """The windows of a long record, read span by span so that memory does not grow with it."""
    parts: list[np.ndarray] = []
    seconds: list[float] = []
    for windows, starts in recording.spans(plan):
        parts.append(reader.raw(windows, [recording.about] * len(windows)))
        seconds += starts
    return np.concatenate(parts, axis=1), seconds


def facts(report: PredictReport) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "done": list(report.done),
        "kept": list(report.kept),
        "failed": report.failed,
        "output": str(report.output),
    }
