"""The store of preprocessed records: shards of float32, each with a list of what it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import atomic_path, digest, read_json, write_json
from medssm.data.ecg.classes import SOURCES, known_mask, targets
from medssm.fields.ecg.plan_file import SPLITS, EcgPlan, read_plan
from medssm.fields.ecg.records import EcgRecord, read_records

SIGNALS = "signals"
SHARD_RECORDS = 64
# what decides how a signal looks in the store
_MADE_WITH = ("rate_hz", "leads", "scale", "clip_mv", "bandpass_hz", "notch_hz", "min_leads")


@dataclass(frozen=True)
class Place:
    """Where a record lies.

    Args:
        shard: File of its samples.
        offset: First of its values in there.
        samples: Of each lead.
        present: Which leads are alive.
    """

    shard: str
    offset: int
    samples: int
    present: tuple[bool, ...]


def preparation_key(plan: EcgPlan) -> str:
    """Hash of what the plan says about making signals."""
    content = plan.plain()
    return digest({name: content[name] for name in _MADE_WITH})[:16]


@dataclass
class EcgStore:
    """Preprocessed records with their labels and folds.

    Args:
        folder: HOME/preprocessed/NAME.
        plan: Its plan.
        splits: One {"name", "train", "val", maybe "test"} a fold.
        records: Every record of the data set that is in the store, by name.
        places: Where they lie.
    """

    folder: Path
    plan: EcgPlan
    splits: Sequence[Mapping[str, Any]]
    records: Mapping[str, EcgRecord]
    places: Mapping[str, Place]
    _open: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Pass between processes without what is mapped into memory."""
        return {**self.__dict__, "_open": {}}

    def signal(self, name: str) -> np.ndarray:
        """The signal of a record, mapped from disk.

        Shape:
            result: (leads, T) float32.
        """
        place = self.places[name]
        if place.shard not in self._open:
            file = self.folder / SIGNALS / place.shard
            self._open[place.shard] = np.load(file, mmap_mode="r", allow_pickle=False)
        flat = self._open[place.shard]
        leads = len(self.plan.leads)
        return flat[place.offset : place.offset + leads * place.samples].reshape(leads, -1)

    def present(self, name: str) -> np.ndarray:
        """Which leads are alive; (leads,) bool."""
        return np.array(self.places[name].present)

    def targets(self, names: Sequence[str]) -> np.ndarray:
        """What is said of records; (N, K) float32."""
        rows = [targets(self.records[name].codes or (), self.plan.classes) for name in names]
        return np.array(rows, dtype=np.float32).reshape(len(names), len(self.plan.classes))

    def known(self, names: Sequence[str]) -> np.ndarray:
        """Which classes the source of a record annotated; (N, K) bool."""
        masks = {
            source: known_mask(source, self.plan.classes)
            if source in SOURCES
            else np.ones(len(self.plan.classes), dtype=bool)
            for source in {self.records[name].source for name in names}
        }
        rows = [masks[self.records[name].source] for name in names]
        return np.array(rows, dtype=bool).reshape(len(names), len(self.plan.classes))


def open_store(folder: Path) -> EcgStore:
    """Open what preprocessing left.

    Raises:
        BadDataError: A part is missing or damaged.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    places = read_places(folder, plan)
    records = {each.name: each for each in read_records(folder) if each.name in places}
    if not records:
        raise BadDataError(f"{folder}: no preprocessed record. Run: medssm preprocess")
    splits = [
        {
            key: [name for name in value if name in records] if isinstance(value, list) else value
            for key, value in split.items()
        }
        for split in read_json(folder / SPLITS)
    ]
    return EcgStore(folder, plan, splits, records, places)


def read_places(folder: Path, plan: EcgPlan) -> dict[str, Place]:
    """What the shards of a plan's key hold.

    Raises:
        BadDataError: A list cannot be read.
    """
    found: dict[str, Place] = {}
    for file in sorted((folder / SIGNALS).glob(f"{preparation_key(plan)}_*.json")):
        shard = file.with_suffix(".npy")
        for name, row in read_json(file)["records"].items():
            if row.get("samples"):
                present = tuple(map(bool, row["present"]))
                found[name] = Place(shard.name, int(row["offset"]), int(row["samples"]), present)
    return found


def write_shard(
    folder: Path, stem: str, made_of: str, rows: Sequence[tuple[str, np.ndarray, np.ndarray]],
    refused: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write a shard, its list last, so that a list says its samples are whole.

    Args:
        folder: HOME/preprocessed/NAME.
        stem: Of both files.
        made_of: Hash of what it was made from.
        rows: Name, signal (leads, T) and live leads (leads,) of each record.
        refused: The finding of each record that could not be prepared.
    """
    entries: dict[str, Any] = {}
    offset = 0
    for name, signal, present in rows:
        entries[name] = {"offset": offset, "samples": signal.shape[1], "present": list(present)}
        offset += signal.size
    entries |= {name: {"refused": finding} for name, finding in refused.items()}
    target = folder / SIGNALS / f"{stem}.npy"
    with atomic_path(target) as partial:
        flat = np.lib.format.open_memmap(partial, "w+", np.float32, (offset,)) if offset else None
        place = 0
        for _, signal, _ in rows:
            assert flat is not None
            # lead by lead, since a long record lies on disk
            for row in signal:
                flat[place : place + len(row)] = row
                place += len(row)
        if flat is None:
            np.save(partial, np.zeros(0, np.float32))
        else:
            flat.flush()
    write_json(target.with_suffix(".json"), {"made_of": made_of, "records": entries})
