"""What all workers did, brought together: doubles, blocked cases, quality, split, the tables."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.files import digest, read_json, write_bytes, write_json
from medssm.data.pseudonyms import Pseudonyms
from medssm.data.reasons import Flag, Reason
from medssm.data.volume_files import volume_file
from medssm.data.volume_store import COLUMNS
from medssm.fields.pretraining.archive_config import PrepareConfig
from medssm.fields.pretraining.block_list import BlockList
from medssm.fields.pretraining.fingerprints import near_pairs, unpack_thumbnail
from medssm.fields.pretraining.grouping import group_volumes, split_groups
from medssm.fields.pretraining.ledger import Ledger, LedgerRow
from medssm.fields.pretraining.selection import Selection, VolumeSpec
from medssm.fields.pretraining.volume_job import is_stored

PENDING = "pending"
_LEDGER = ("item", "stage", "status", "reason", "detail", "volume")


@dataclass(frozen=True)
class Outcome:
    """What became of a volume: stored, rejected, quarantined, or pending."""

    status: str
    reason: str = ""
    detail: str = ""


def collect(
    folder: Path,
    selection: Selection,
    config: PrepareConfig,
    modality: str,
    blocked: BlockList,
    pseudonyms: Pseudonyms,
) -> dict[str, Any]:
    """Bring together what is stored; the same store gives the same tables.

    Args:
        folder: HOME/preprocessed/NAME.
        selection: All volumes and files.
        config: Quality, split, recipe.
        modality: "CT" or "any".
        blocked: Test cases of downstream tasks.
        pseudonyms: For the files in the ledger.

    Returns:
        What report.json holds.
    """
    recipe = config.recipe(modality)
    outcomes, records = _outcomes(folder, selection.volumes, recipe)
    doubles = _reject_doubles(outcomes, records, selection.volumes)
    _reject_blocked(outcomes, records, blocked)
    _reject_poor(outcomes, records, config.min_quality)
    kept = {name: record for name, record in records.items() if outcomes[name].status == "stored"}
    near = near_pairs({name: record["picture"] for name, record in kept.items()})
    patients = {name: str(record["patient"]) for name, record in records.items()}
    groups = group_volumes(patients, [*doubles, *near])
    splits = split_groups({name: groups[name] for name in kept}, config.val_share, config.seed)
    _write_volumes(folder, kept, splits, {name for pair in near for name in pair})
    write_json(
        folder / "splits.json",
        {side: sorted(n for n in kept if splits[n] == side) for side in ("train", "val")},
    )
    _write_ledger(folder, selection, outcomes, pseudonyms)
    report = _report(selection, outcomes, kept, splits)
    write_json(folder / "report.json", report)
    return report


def _outcomes(
    folder: Path, specs: Sequence[VolumeSpec], recipe: str
) -> tuple[dict[str, Outcome], dict[str, dict[str, Any]]]:
    rows = Ledger(folder / "ledger").latest(recipe)
    outcomes: dict[str, Outcome] = {}
    records: dict[str, dict[str, Any]] = {}
    for spec in specs:
        row = rows.get((spec.id, "prepare"))
        if is_stored(spec, folder / "store", recipe):
            sidecar = volume_file(folder / "store", spec.id).with_suffix(".json")
            record = read_json(sidecar)
            record["picture"] = unpack_thumbnail(record.pop("thumbnail"))
            records[spec.id] = record
            outcomes[spec.id] = Outcome("stored", "", " ".join(record["flags"]))
        elif row is not None and row.status != "stored":
            outcomes[spec.id] = Outcome(row.status, row.reason, row.detail)
        else:
            outcomes[spec.id] = Outcome(PENDING)
    return outcomes, records


def _reject_doubles(
    outcomes: dict[str, Outcome],
    records: Mapping[str, Mapping[str, Any]],
    specs: Sequence[VolumeSpec],
) -> list[tuple[str, str]]:
    """One volume of the same voxels stays, DICOM before images since it knows the patient."""
    same: dict[str, list[str]] = {}
    is_image = {spec.id: spec.stack is None for spec in specs}
    for name in sorted(records, key=lambda each: (is_image[each], each)):
        same.setdefault(str(records[name]["pixel_hash"]), []).append(name)
    pairs: list[tuple[str, str]] = []
    for first, *others in same.values():
        for name in others:
            outcomes[name] = Outcome("rejected", Reason.DUPLICATE_VOLUME, f"of {first}")
            pairs.append((first, name))
    return pairs


def _reject_blocked(
    outcomes: dict[str, Outcome], records: Mapping[str, Mapping[str, Any]], blocked: BlockList
) -> None:
    for name, record in records.items():
        why = blocked.holds(record["pixel_hash"], record["picture"])
        if why:
            outcomes[name] = Outcome("rejected", Reason.BLOCKED_TEST_CASE, why)


def _reject_poor(
    outcomes: dict[str, Outcome], records: Mapping[str, Mapping[str, Any]], least: float
) -> None:
    for name, record in records.items():
        quality = record["quality"]
        poor = record["kind"] == "hu" and quality["score"] < least
        if poor and outcomes[name].status == "stored":
            detail = f"{quality['score']}: {' '.join(quality['failed'])}"
            outcomes[name] = Outcome("rejected", Reason.LOW_QUALITY, detail)


def _write_volumes(
    folder: Path,
    kept: Mapping[str, Mapping[str, Any]],
    splits: Mapping[str, str],
    near: set[str],
) -> None:
    distances = _histogram_distances(kept)
    rows = []
    for name in sorted(kept):
        record = kept[name]
        statistics = record["statistics"]
        flags = {*record["flags"], *({str(Flag.NEAR_DUPLICATE)} if name in near else set())}
        rows.append(
            (
                name, record["patient"], splits[name], record["kind"],
                "x".join(map(str, record["shape"])), "x".join(map(str, record["spacing_mm"])),
                record["slope"], record["intercept"], statistics["low"], statistics["high"],
                statistics["mean"], statistics["std"], record["quality"]["score"],
                distances.get(name, 0.0), " ".join(sorted(flags)),
            )
        )  # fmt: skip
    write_table(folder / "volumes.csv", COLUMNS, rows)


def _histogram_distances(kept: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Total variation of each volume's HU histogram from the mean of all."""
    known = {
        name: np.array(record["quality"]["histogram"])
        for name, record in kept.items()
        if record["quality"]["histogram"]
    }
    if not known:
        return {}
    mean = np.mean([known[name] for name in sorted(known)], axis=0)
    return {name: round(float(np.abs(each - mean).sum() / 2), 4) for name, each in known.items()}


def _write_ledger(
    folder: Path,
    selection: Selection,
    outcomes: Mapping[str, Outcome],
    pseudonyms: Pseudonyms,
) -> None:
    """ledger.csv without a path; private/files.csv tells which file is which item."""
    rows = [
        (name, "prepare", each.status, each.reason, each.detail, name)
        for name, each in sorted(outcomes.items())
        if each.status != PENDING
    ]
    items = file_rows(selection, pseudonyms, "")
    rows += [(r.item, r.stage, r.status, r.reason, r.detail, r.volume) for r in items]
    write_table(folder / "ledger.csv", _LEDGER, rows)
    private = [
        (each.place.name, row.item, row.status, row.reason, row.detail, row.volume)
        for each, row in zip(selection.files, items, strict=True)
    ]
    file = folder / "private" / "files.csv"
    write_table(file, ("path", "item", "status", "reason", "detail", "volume"), private)


def file_rows(selection: Selection, pseudonyms: Pseudonyms, recipe: str) -> list[LedgerRow]:
    """The ledger's rows of all files, in their order."""
    return [
        LedgerRow(
            pseudonyms(f"file|{each.place.name}"),
            "select",
            recipe,
            "rejected" if each.reason else "used",
            str(each.reason),
            each.detail,
            " ".join(each.volumes),
        )
        for each in selection.files
    ]


def _report(
    selection: Selection,
    outcomes: Mapping[str, Outcome],
    kept: Mapping[str, Mapping[str, Any]],
    splits: Mapping[str, str],
) -> dict[str, Any]:
    files = Counter(str(each.reason) for each in selection.files if each.reason)
    volumes = Counter(str(each.reason) for each in outcomes.values() if each.reason)
    status = Counter(each.status for each in outcomes.values())
    return {
        "files": len(selection.files),
        "files_used": len(selection.files) - sum(files.values()),
        "files_left_out": dict(sorted(files.items())),
        "volumes": len(outcomes),
        "used": len(kept),
        "pending": status[PENDING],
        "volumes_left_out": dict(sorted(volumes.items())),
        "train": sum(splits[name] == "train" for name in kept),
        "val": sum(splits[name] == "val" for name in kept),
        "patients": len({record["patient"] for record in kept.values()}),
        "kinds": dict(Counter(record["kind"] for record in kept.values())),
        "gigabytes": round(sum(record["bytes"] for record in kept.values()) / 1e9, 4),
        "corpus_hash": digest([[name, splits[name]] for name in sorted(kept)]),
    }


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV whole or not at all; an unchanged one is left alone."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    # names of files need not be text
    content = stream.getvalue().encode("utf-8", "surrogateescape")
    if not file.is_file() or file.read_bytes() != content:
        write_bytes(file, content)
