"""Filling the store of an archive: what is missing of a shard is done, then all is collected."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import MachineError
from medssm.core.files import digest, is_temporary, read_json, sha256, write_json
from medssm.core.log import Progress, say, warn
from medssm.core.workers import DeadWorkerError, TimeLimitError
from medssm.data.reasons import Reason
from medssm.fields.pretraining.archive_config import remembered
from medssm.fields.pretraining.archive_plan import ensure_plan
from medssm.fields.pretraining.archive_study import ArchiveStudy
from medssm.fields.pretraining.backends import run_jobs
from medssm.fields.pretraining.block_list import FILE as BLOCKED
from medssm.fields.pretraining.block_list import read_block_list
from medssm.fields.pretraining.collect import collect
from medssm.fields.pretraining.ledger import Ledger
from medssm.fields.pretraining.selection import Selection, VolumeSpec
from medssm.fields.pretraining.volume_job import VolumeJob, is_stored

COLLECTED = "collected.json"
"""What the tables were last made from."""


def fill_store(study: ArchiveStudy) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plan, prepare what is missing of this shard, and bring everything together.

    Returns:
        What plan.json and report.json hold.

    Raises:
        MachineError: The disk is full, or a package is missing; what was done stays done.
    """
    plan, selection = ensure_plan(study)
    config, modality = study.settings.preprocess, str(plan["modality"])
    blocked = read_block_list(study.folder, study.settings.archive, study.pseudonyms)
    with at_work(study.folder) as alone:
        if alone:
            _sweep(study.folder)
        jobs = _jobs(study, selection, modality)
        if jobs:
            _check_disk(study, [job.spec for job in jobs])
            _work(study, jobs)
        key = _state(study, plan)
        if not jobs and _is_collected(study.folder, key):
            return plan, read_json(study.folder / "report.json")
        report = collect(study.folder, selection, config, modality, blocked, study.pseudonyms)
        write_json(study.folder / COLLECTED, {"made_from": key})
    return plan, report


@contextmanager
def at_work(folder: Path) -> Iterator[bool]:
    """Hold a mark that somebody works here; it goes with the process.

    Yields:
        Whether nobody else does, so that what killed writers left may be deleted.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with (folder / "private" / "at_work").open("wb") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:
            alone = False
        yield alone


def _state(study: ArchiveStudy, plan: Mapping[str, Any]) -> str:
    """A hash of all that the tables are made from: plan, settings, block list, ledger."""
    parts = sorted((study.folder / "ledger").glob("part-*.jsonl"))
    blocked = study.folder / BLOCKED
    return digest(
        [
            plan["made_from"],
            remembered(study.settings),
            [[each.name, each.stat().st_size] for each in parts],
            sha256(blocked) if blocked.is_file() else "",
        ]
    )


def _is_collected(folder: Path, key: str) -> bool:
    tables = ("volumes.csv", "splits.json", "ledger.csv", "report.json", "private/files.csv")
    if not all((folder / name).is_file() for name in (*tables, COLLECTED)):
        return False
    return bool(read_json(folder / COLLECTED).get("made_from") == key)


def _jobs(study: ArchiveStudy, selection: Selection, modality: str) -> list[VolumeJob]:
    """What is left to do of this shard: neither stored nor refused by this recipe."""
    config = study.settings.preprocess
    part, parts = config.part()
    recipe = config.recipe(modality)
    rows = Ledger(study.folder / "ledger").latest(recipe)
    jobs: list[VolumeJob] = []
    for spec in selection.volumes:
        if int(spec.id, 16) % parts != part:
            continue
        row = rows.get((spec.id, "prepare"))
        settled = row is not None and row.status == "rejected"
        if study.force or not (settled or is_stored(spec, study.folder / "store", recipe)):
            attempt = 2 if row is not None and row.status == "quarantined" else 1
            jobs.append(
                VolumeJob(
                    spec, study.source, study.folder / "store", study.folder / "ledger",
                    config, modality, attempt,
                )
            )  # fmt: skip
    return jobs


def _work(study: ArchiveStudy, jobs: Sequence[VolumeJob]) -> None:
    """Do the jobs; a volume that ended its worker is quarantined and the others go on."""
    bar = Progress(len(jobs), "preprocess")
    ledger = Ledger(study.folder / "ledger")
    reasons = ((DeadWorkerError, Reason.WORKER_DIED), (TimeLimitError, Reason.TIME_LIMIT))
    for job, error in run_jobs(jobs, study.settings.preprocess):
        bar.step(job.name)
        if error is None:
            continue
        found = [reason for kind, reason in reasons if isinstance(error, kind)]
        if isinstance(error, MachineError) and not found:
            raise error
        reason = found[0] if found else Reason.FAILED
        warn("%s", error)
        first = str(error).splitlines()[0]
        ledger.append([job.row("quarantined", reason, first)], job.attempt)


def _check_disk(study: ArchiveStudy, specs: Sequence[VolumeSpec]) -> None:
    spacing = study.settings.preprocess.spacing_mm
    needed = 2.0 * sum(_voxels(spec, spacing) for spec in specs)
    study.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(study.folder).free
    if needed > free:
        raise MachineError(
            f"{study.folder}: {len(specs)} volumes take up to {needed / 2**30:.3g} GiB, and "
            f"{free / 2**30:.3g} GiB are free. Free some, or choose another place with --home."
        )
    say("%d volumes to prepare, up to %.3g GiB.", len(specs), needed / 2**30)


def _voxels(spec: VolumeSpec, spacing_mm: float | None) -> float:
    if spec.stack is not None:
        header, plane = spec.stack.first.header, spec.stack.first.plane
        shape = [header.columns, header.rows, len(spec.stack.slots)]
        distance = float(np.linalg.norm(spec.stack.step))
        spacing = [*(plane.spacing_mm or (1.0, 1.0)), distance]
    else:
        assert spec.image is not None
        shape, spacing = list(spec.image.shape[:3]), list(spec.image.spacing_mm)
    count = float(np.prod(shape))
    return count if spacing_mm is None else count * float(np.prod(spacing)) / spacing_mm**3


def _sweep(folder: Path) -> None:
    """Delete what killed writers left."""
    for path in folder.rglob(".medssm-partial-*"):
        if is_temporary(path):
            path.unlink(missing_ok=True)
