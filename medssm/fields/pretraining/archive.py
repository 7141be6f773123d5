"""An archive of scans to a store of volumes: import, plan, preprocess, each resumable."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.core.log import warn
from medssm.data.reasons import Reason
from medssm.runs.answer import Answer, table
from medssm.runs.datasets import register_dataset
from medssm.runs.field import ImportRequest, StudyRequest
from medssm.runs.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from medssm.fields.pretraining.archive_study import ArchiveStudy

FIELD_NAME = "pretraining"
# a volume for one of these may go well another time
_FAULTS = {Reason.WORKER_DIED, Reason.TIME_LIMIT, Reason.FAILED, Reason.UNDECODABLE}


def import_archive(request: ImportRequest) -> Answer:
    """Register a folder of scans where it lies; nothing is copied.

    Raises:
        BadDataError: There is no such folder.
        UsageError: A word that this import does not take.
    """
    if request.overrides:
        raise UsageError(f"medssm import archive: unexpected word {request.overrides[0]!r}.")
    source = Path(request.source).expanduser().absolute()
    if not source.is_dir():
        raise BadDataError(f"{source}: no such folder. Expected one with DICOM or image files.")
    workspace = register_dataset(request.home, source, FIELD_NAME, request.name)
    facts = {"dataset": workspace.dataset, "source": str(source)}
    lines = [f"{workspace.dataset}: {source} (nothing copied)"]
    file = workspace.raw_folder / "dataset.json"
    return Answer(facts, lines, [file], ("medssm", "plan", workspace.dataset))


def plan_pretraining(request: StudyRequest) -> Answer:
    """Scan the headers of an archive and sort its files into volumes; no pixel is decoded."""
    from medssm.fields.pretraining.archive_plan import PLAN, ensure_plan
    from medssm.fields.pretraining.archive_study import open_study

    study = open_study(request)
    plan, selection = ensure_plan(study)
    left_out = plan["files_left_out"]
    facts = {"dataset": study.workspace.dataset, **plan}
    lines = [
        f"{plan['files']} files, {len(selection.volumes)} volumes to prepare, "
        f"modality {plan['modality']}",
        *(table(sorted(left_out.items()), ("files left out", "count")) if left_out else []),
    ]
    return Answer(facts, lines, [study.folder / PLAN], request.following("preprocess"))


def preprocess_pretraining(request: StudyRequest) -> Answer:
    """Fill the store of an archive; what is there and fits is left alone."""
    from medssm.fields.pretraining.archive_fill import fill_store
    from medssm.fields.pretraining.archive_study import open_study

    study = open_study(request)
    plan, report = fill_store(study)
    failed = sum(report["volumes_left_out"].get(reason, 0) for reason in _FAULTS)
    bound = study.settings.preprocess.max_failed_share
    lines = [
        f"{report['used']} of {report['volumes']} volumes usable "
        f"({report['train']} train, {report['val']} val), {report['gigabytes']:.3g} GB",
        *([f"{report['pending']} volumes are for other shards"] if report["pending"] else []),
    ]
    if report["volumes_left_out"]:
        rows = sorted(report["volumes_left_out"].items())
        lines += table(rows, ("volumes left out", "count"))
    bad = failed > bound * max(1, report["volumes"])
    if bad:
        warn("%d of %d volumes failed, more than preprocess.max_failed_share=%g; ledger.csv "
             "names the reasons.", failed, report["volumes"], bound)  # fmt: skip
    facts = {"dataset": study.workspace.dataset, "modality": plan["modality"], **report}
    written = [study.folder / "store", study.folder / "ledger.csv", study.folder / "report.json"]
    return Answer(facts, lines, written, _following(request, study, report), 3 if bad else 0)


def _following(
    request: StudyRequest, study: "ArchiveStudy", report: Mapping[str, Any]
) -> tuple[str, ...]:
    """The next shard while there is one that nobody did, else the training."""
    part, parts = study.settings.preprocess.part()
    said = ("preprocess.shard=", "preprocess.backend=", "preprocess.workers=")
    words = tuple(word for word in request.overrides if not word.startswith(said))
    if report["pending"] and parts > 1:
        others = tuple(word for word in request.overrides if not word.startswith(said[0]))
        following = replace(request, overrides=(*others, f"{said[0]}{(part + 1) % parts}/{parts}"))
        return following.following("preprocess")
    return replace(request, overrides=words).following("train")


def ensure_store(request: StudyRequest) -> Workspace:
    """The workspace of an archive whose store is filled; done where it is missing or stale.

    A store that was brought here without its archive is taken as it is.
    """
    from medssm.fields.pretraining.archive_fill import fill_store
    from medssm.fields.pretraining.archive_study import open_study

    workspace = open_workspace(request.dataset, request.home)
    source = Path(str(read_json(workspace.raw_folder / "dataset.json").get("source", "")))
    if not source.is_dir() and (workspace.preprocessed / "volumes.csv").is_file():
        warn("%s is not here; its store is taken as it is.", source)
        return workspace
    # whoever trains wants all of it, not a shard
    words = tuple(word for word in request.overrides if not word.startswith("preprocess.shard="))
    study = open_study(replace(request, overrides=words))
    fill_store(study)
    return study.workspace


def recognise(folder: Path) -> str | None:
    """Whether a raw folder is an archive: DICOM files, or volumes without labels."""
    from medssm.fields.pretraining.recognition import is_archive

    return "archive" if is_archive(folder) else None
