"""Fills the store: every usable record prepared once, shard by shard, so that a kill costs one."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import digest, read_json, remove_temporaries
from medssm.core.log import Progress, say, warn
from medssm.core.workers import run_cases
from medssm.data.ecg.read import read_record
from medssm.data.ecg.signal import ReadOptions, RecordError, remark
from medssm.fields.ecg.inventory import (
    LONG_S,
    list_files,
    reading_options,
    state_of,
    workers_for,
)
from medssm.fields.ecg.plan import ensure_plan
from medssm.fields.ecg.plan_file import EcgPlan
from medssm.fields.ecg.prepare import Prepared, preprocess_signal
from medssm.fields.ecg.records import EcgRecord, read_records
from medssm.fields.ecg.store import (
    SHARD_RECORDS,
    SIGNALS,
    EcgStore,
    open_store,
    preparation_key,
    write_shard,
)
from medssm.fields.ecg.study import EcgStudy, open_study
from medssm.runs.answer import Answer
from medssm.runs.field import StudyRequest
from medssm.runs.workspace import Workspace

__all__ = ["Prepared", "ensure_preprocessed", "preprocess_ecg", "preprocess_signal"]
_SPAN_S = 300.0
# beyond the ends of a span, for the filters; thrown away again
_MARGIN_S = 4.0
_SCRATCH = ".scratch-"
_SOME_REFUSED = BadDataError.exit_code


@dataclass(frozen=True)
class ShardJob:
    """Records that go into one shard.

    Args:
        name: Stem of the shard's files.
        records: Their rows.
        files: Where they lie.
        plan: How they are prepared.
        options: For the readers.
        folder: HOME/preprocessed/NAME.
        key: Hash of what the shard is made of.
    """

    name: str
    records: tuple[EcgRecord, ...]
    files: tuple[Path, ...]
    plan: EcgPlan
    options: ReadOptions
    folder: Path
    key: str

    def run(self) -> None:
        """Prepare and write."""
        # long records wait on disk, not in memory, until the shard is written
        with TemporaryDirectory(prefix=_SCRATCH, dir=self.folder) as scratch:
            self._write(Path(scratch))

    def _write(self, scratch: Path) -> None:
        rows, refused = [], {}
        for record, file in zip(self.records, self.files, strict=True):
            try:
                signal, present = prepared_record(record, file, self.plan, self.options, scratch)
            except MachineError:
                raise
            except RecordError as error:
                refused[record.name] = asdict(error.finding)
            except BadDataError as error:
                finding = remark(file, "too_few_leads", str(error), "more leads", "See plan.")
                refused[record.name] = asdict(finding)
            else:
                rows.append((record.name, signal, present))
        write_shard(self.folder, self.name, self.key, rows, refused)


def prepared_record(
    record: EcgRecord, file: Path, plan: EcgPlan, options: ReadOptions, scratch: Path
) -> tuple[np.ndarray, np.ndarray]:
    """A record as it goes into the store; a long one is read and prepared in spans.

    Args:
        record: Its row.
        file: Where it lies.
        plan: How it is prepared.
        options: For the readers.
        scratch: Folder for what is too long for memory.

    Returns:
        The signal (leads, T) and which leads are alive (leads,).

    Raises:
        BadDataError: It cannot be used.
    """
    if record.seconds <= LONG_S:
        made = preprocess_signal(read_record(file, options=options), plan)
        return made.signal, made.present
    present = np.zeros(len(plan.leads), dtype=bool)
    shape = (len(plan.leads), round(record.seconds * plan.rate_hz))
    whole = np.memmap(scratch / f"{record.name}.f32", np.float32, "w+", shape=shape)
    place = 0
    for part, alive in _spans(record.seconds, file, plan, options):
        whole[:, place : place + part.shape[1]] = part
        place += part.shape[1]
        present |= alive
    return whole, present


def _spans(
    seconds: float, file: Path, plan: EcgPlan, options: ReadOptions
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    start = 0.0
    while start < seconds - 1e-6:
        # what would be left over as a crumb goes with the last span
        stop = seconds if seconds - start < 1.5 * _SPAN_S else start + _SPAN_S
        first, last = max(0.0, start - _MARGIN_S), min(seconds, stop + _MARGIN_S)
        length = round(stop * plan.rate_hz) - round(start * plan.rate_hz)
        skip = round(start * plan.rate_hz) - round(first * plan.rate_hz)
        try:
            made = preprocess_signal(read_record(file, first, last, options), plan)
            piece, alive = made.signal[:, skip : skip + length], made.present
        except BadDataError as error:
            # electrodes come off in the course of a day: a silent span is zeros, not the end
            warn("%s, %.0f to %.0f s: %s", file, first, last, error)
            piece = np.zeros((len(plan.leads), length), np.float32)
            alive = np.zeros(len(plan.leads), dtype=bool)
        yield np.pad(piece, ((0, 0), (0, length - piece.shape[1]))), alive
        start = stop


def preprocess_ecg(request: StudyRequest) -> Answer:
    """Fill the store of a study and tell what is in it.

    Raises:
        BadDataError: Nothing can be used.
    """
    store, workspace = ensure_preprocessed(request)
    refused = _refused(store.folder, store.plan)
    facts = {
        "dataset": workspace.dataset,
        "records": len(store.places),
        "refused": refused,
        "skipped": store.plan.counts["skipped"],
        **store.plan.facts(),
    }
    lines = [f"{len(store.places)} records preprocessed at {store.plan.rate_hz:g} Hz"]
    lines += [f"{name}: {found}" for name, found in refused.items()]
    bad = refused or store.plan.counts["skipped"]
    code = _SOME_REFUSED if bad and not request.skip_bad else 0
    if bad:
        lines.append(f"{len(refused) + store.plan.counts['skipped']} records left out")
    return Answer(facts, lines, [store.folder / SIGNALS], request.following("train"), code)


def ensure_preprocessed(request: StudyRequest) -> tuple[EcgStore, Workspace]:
    """The store of a study; only shards that are missing or stale are made.

    Raises:
        BadDataError: Nothing can be used.
    """
    plan, workspace = ensure_plan(request)
    study = open_study(request)
    jobs = _jobs(study, plan)
    folder = workspace.preprocessed
    todo = [job for job in jobs if request.force or not _is_done(job)]
    if todo:
        (folder / SIGNALS).mkdir(parents=True, exist_ok=True)
        remove_temporaries(folder / SIGNALS)
        for scratch in folder.glob(f"{_SCRATCH}*"):
            shutil.rmtree(scratch, ignore_errors=True)
        count = sum(len(job.records) for job in jobs)
        left = sum(len(job.records) for job in todo)
        say("preprocess %d of %d records at %g Hz", left, count, plan.rate_hz)
        bar = Progress(count, "preprocess")
        bar.done = count - left
        for job, error in run_cases(todo, workers_for(study, left)):
            if error is not None:
                raise error
            bar.step(count=len(job.records))
    _remove_others(folder, plan, {job.name for job in jobs})
    return open_store(folder), workspace


def _jobs(study: EcgStudy, plan: EcgPlan) -> list[ShardJob]:
    folder, options = study.workspace.preprocessed, reading_options(study)
    files = list_files(study)
    records = [each for each in read_records(folder) if each.usable]
    jobs = []
    for number, start in enumerate(range(0, len(records), SHARD_RECORDS)):
        part = tuple(records[start : start + SHARD_RECORDS])
        paths = {each.name: files[each.name] for each in part}
        key = digest([state_of(paths), asdict(options), preparation_key(plan)])
        stem = f"{preparation_key(plan)}_{number:05d}"
        jobs.append(ShardJob(stem, part, tuple(paths.values()), plan, options, folder, key))
    return jobs


def _is_done(job: ShardJob) -> bool:
    """Whether the list, which is written last, is of the same records and its samples are there."""
    samples = job.folder / SIGNALS / f"{job.name}.npy"
    listed = samples.with_suffix(".json")
    if not (samples.is_file() and listed.is_file()):
        return False
    try:
        return bool(read_json(listed).get("made_of") == job.key)
    except BadDataError:
        return False


def _remove_others(folder: Path, plan: EcgPlan, wanted: set[str]) -> None:
    """Shards of this key that the plan no longer has; those of other keys stay for their plans."""
    for file in (folder / SIGNALS).glob(f"{preparation_key(plan)}_*"):
        if file.stem not in wanted:
            file.unlink()


def _refused(folder: Path, plan: EcgPlan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in sorted((folder / SIGNALS).glob(f"{preparation_key(plan)}_*.json")):
        for name, row in read_json(file)["records"].items():
            if "refused" in row:
                found[name] = row["refused"]["found"]
    return found
