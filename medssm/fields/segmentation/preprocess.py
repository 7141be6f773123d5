"""Preprocess: every case into nnU-Net's store, resumable, each case with a record."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import (
    RECORDS,
    atomic_path,
    digest,
    read_json,
    remove_temporaries,
    sha256,
    write_json,
)
from medssm.core.log import Progress, detail, say, warn
from medssm.core.workers import run_cases
from medssm.data.manifest import Case, Manifest
from medssm.fields.segmentation.plan_file import OURS, Plan
from medssm.runs.workspace import Workspace

# image float32 and label int16, before compression
_BYTES_PER_VOXEL = 6
# seen on a laptop's core with images of 0.1 to 20 million voxels, cubic resampling
_SECONDS_PER_CASE = 0.04
_VOXELS_PER_SECOND = 1.5e6
# a process pays several seconds for the import of torch and nnunetv2
_WORTH_A_PROCESS_SECONDS = 15
_MOST_WORKERS = 16


@dataclass(frozen=True)
class PreprocessConfig:
    """What a user may say about preprocessing.

    Args:
        workers: Processes; 1 works in this process, 0 chooses by the amount of work.
        skip_bad: Go on without cases that fail, instead of ending with an error.
        force: Do every case again.
        verify: Hash the outputs of finished cases again, instead of comparing their sizes.
    """

    workers: int = 0
    skip_bad: bool = False
    force: bool = False
    verify: bool = False


@dataclass(frozen=True)
class CaseJob:
    """One case to preprocess; travels to a worker process."""

    case: Case
    plan: Plan
    folder: Path

    @property
    def name(self) -> str:
        """The case."""
        return self.case.name

    def run(self) -> None:
        """Preprocess the case, then write its record: with the record it counts as done."""
        # loads torch and nnunetv2, once a process
        from medssm.fields.segmentation.nnunet.preprocessing import hashes, store_case

        if self.case.label is None:
            raise BadDataError(f"{self.name}: no label file. Expected one for a training case.")
        # an older record must not vouch for files that are being replaced
        record_file(self.folder, self.name).unlink(missing_ok=True)
        store_case(self.name, self.case.images, self.case.label, self.plan, self.folder)
        made = hashes(self.name, self.folder)
        record = {
            "case": self.name,
            "settings": settings_hash(self.plan),
            "inputs": {str(file): _facts(file) for file in (*self.case.images, self.case.label)},
            "outputs": {
                name: {"sha256": value, "size": (self.folder / name).stat().st_size}
                for name, value in made.items()
            },
        }
        write_json(record_file(self.folder, self.name), record)


def preprocess(
    config: PreprocessConfig, plan: Plan, manifest: Manifest, workspace: Workspace
) -> Path:
    """Fill the store of a plan; what is there and fits is left alone.

    Args:
        config: What to do.
        plan: The plan.
        manifest: The data set.
        workspace: Where the store lies.

    Returns:
        The folder with {case}.b2nd, {case}_seg.b2nd and {case}.pkl.

    Raises:
        BadDataError: Cases failed (named, with the reason); all others are done.
        MachineError: Not enough disk; nothing was begun.
    """
    folder = workspace.store(plan.data_identifier)
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder)
    cases = {name: case for name, case in manifest.cases.items() if name not in _left_out(plan)}
    _remove_strangers(folder, cases)
    todo = [
        case
        for case in cases.values()
        if config.force or not is_done(case, plan, folder, config.verify)
    ]
    complete = folder / RECORDS / "complete.json"
    if todo:
        complete.unlink(missing_ok=True)
        voxels = stored_voxels(plan, workspace) * len(todo) / len(cases)
        check_disk(len(todo), voxels, folder)
        if len(todo) < len(cases):
            say("%d of %d cases are preprocessed already.", len(cases) - len(todo), len(cases))
        jobs = [CaseJob(case, plan, folder) for case in todo]
        failed = _run(jobs, config.workers or choose_workers(len(jobs), voxels))
        if failed and not config.skip_bad:
            raise BadDataError(
                f"{folder}: {len(failed)} of {len(cases)} cases failed: "
                f"{', '.join(sorted(failed))} (reasons above); the others are done. Mend them and "
                "run the same command again, or leave them out with --skip-bad."
            )
        cases = {name: case for name, case in cases.items() if name not in failed}
    _copy_references(cases, manifest.file_ending, workspace)
    write_json(complete, {"cases": sorted(cases), "settings": settings_hash(plan)})
    detail("store: %s", folder)
    return folder


def _run(jobs: list[CaseJob], workers: int) -> set[str]:
    bar = Progress(len(jobs), "preprocess")
    failed: set[str] = set()
    for job, error in run_cases(jobs, workers):
        bar.step(job.name)
        if error is not None:
            warn("%s failed: %s", job.name, error)
            failed.add(job.name)
    return failed


def _left_out(plan: Plan) -> set[str]:
    return set(plan.plans.get(OURS, {}).get("skipped", ()))


def settings_hash(plan: Plan) -> str:
    """A hash of what decides the content of the store."""
    keys = (
        "spacing", "normalization_schemes", "use_mask_for_norm", "resampling_fn_data",
        "resampling_fn_seg", "resampling_fn_data_kwargs", "resampling_fn_seg_kwargs",
        "preprocessor_name",
    )  # fmt: skip
    return digest(
        [
            {key: plan.settings.get(key) for key in keys},
            plan.plans.get("transpose_forward"),
            plan.plans.get("image_reader_writer"),
            plan.plans.get("foreground_intensity_properties_per_channel"),
            plan.dataset.get("labels"),
        ]
    )


def record_file(folder: Path, name: str) -> Path:
    """Where the record of a case lies; stock nnU-Net does not look into the folder."""
    return folder / RECORDS / "cases" / f"{name}.json"


def is_done(case: Case, plan: Plan, folder: Path, verify: bool = False) -> bool:
    """Whether the store holds a case made from these inputs by this plan, undamaged."""
    file = record_file(folder, case.name)
    if not file.is_file():
        return False
    try:
        record = read_json(file)
        same = record["settings"] == settings_hash(plan)
        inputs = (*case.images, *([case.label] if case.label else []))
        same = same and record["inputs"].keys() == {str(path) for path in inputs}
        same = same and all(_unchanged(path, record["inputs"][str(path)]) for path in inputs)
        outputs: Mapping[str, Any] = record["outputs"]
    except (BadDataError, KeyError, TypeError):
        return False
    if not same:
        return False
    for name, facts in outputs.items():
        output = folder / name
        if not output.is_file() or output.stat().st_size != facts["size"]:
            return False
        if verify and sha256(output) != facts["sha256"]:
            return False
    return True


def _facts(file: Path) -> dict[str, Any]:
    status = file.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256(file)}


def _unchanged(file: Path, facts: Mapping[str, Any]) -> bool:
    if not file.is_file() or file.stat().st_size != facts["size"]:
        return False
    # a copied or touched file has a new time and the same content
    return file.stat().st_mtime_ns == facts["mtime_ns"] or sha256(file) == facts["sha256"]


def stored_voxels(plan: Plan, workspace: Workspace) -> float:
    """Voxels of all cases after resampling, channels and label counted."""
    fingerprint = read_json(workspace.preprocessed / "dataset_fingerprint.json")
    shapes = np.array(fingerprint["shapes_after_crop"], dtype=float)
    spacings = np.array(fingerprint["spacings"], dtype=float)
    order = list(plan.plans.get("transpose_forward", range(shapes.shape[1])))
    # a 2D plan leaves the distance of slices alone
    resampled = order[len(order) - len(plan.spacing_mm) :]
    scale = spacings[:, resampled].prod(1) / np.prod(plan.spacing_mm)
    return float((shapes.prod(1) * scale).sum()) * plan.num_channels


def choose_workers(cases: int, voxels: float) -> int:
    """How many processes: one more only where it saves more than its start takes."""
    seconds = cases * _SECONDS_PER_CASE + voxels / _VOXELS_PER_SECOND
    worth = int(seconds // _WORTH_A_PROCESS_SECONDS)
    return max(1, min(worth, (os.cpu_count() or 1) - 1, _MOST_WORKERS, cases))


def check_disk(cases: int, voxels: float, folder: Path) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        cases: How many, for the message.
        voxels: Of all of them, as stored.
        folder: The store.

    Raises:
        MachineError: With both numbers.
    """
    needed = voxels * _BYTES_PER_VOXEL
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MachineError(
            f"{folder}: preprocessing {cases} cases takes up to {needed / 2**30:.3g} GiB, and "
            f"{free / 2**30:.3g} GiB are free. Free some, or choose another place with --home."
        )


def _remove_strangers(folder: Path, cases: Mapping[str, Case]) -> None:
    """Cases that the data set no longer has: stock nnU-Net would train on whatever lies here."""
    for record in (folder / RECORDS / "cases").glob("*.json"):
        if record.stem not in cases:
            for ending in (".pkl", "_seg.b2nd", ".b2nd"):
                (folder / f"{record.stem}{ending}").unlink(missing_ok=True)
            record.unlink()


def _copy_references(cases: Mapping[str, Case], ending: str, workspace: Workspace) -> None:
    """Labels beside the store, as stock nnU-Net keeps them for its validation."""
    folder = workspace.preprocessed / "gt_segmentations"
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases.values():
        if case.label is None:
            continue
        target = folder / f"{case.name}{ending}"
        there, here = case.label.stat(), target.stat() if target.is_file() else None
        if here is None or (here.st_size, here.st_mtime_ns) != (there.st_size, there.st_mtime_ns):
            with atomic_path(target) as partial:
                shutil.copy2(case.label, partial)
