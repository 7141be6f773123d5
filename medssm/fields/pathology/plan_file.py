"""The plan of a study of bags: which bags there are, what is true of them, who is held back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from medssm.core.errors import BadDataError
from medssm.core.files import digest, read_json, write_json

TaskName = Literal["classification", "survival"]
Unit = Literal["slide", "patient"]
PLAN = "plan.json"


@dataclass(frozen=True)
class BagEntry:
    """One bag of a study.

    Args:
        name: The slide's id, or the patient's where a bag is a patient.
        patient: Whose it is.
        slides: The slides of it, in the order of the table.
        label: Its class by number, or None.
        months: Time to the event or the last visit, or None.
        event: Whether the event was seen.
    """

    name: str
    patient: str
    slides: tuple[str, ...]
    label: int | None = None
    months: float | None = None
    event: bool | None = None


@dataclass(frozen=True)
class Plan:
    """What was decided about a data set.

    Args:
        kind: How it was imported: slides, features or bags.
        task: What is learned.
        unit: What a bag is.
        classes: Names of the classes by number; empty for survival.
        bins: Time bins of survival, at most.
        bags: All bags that can be used, by name.
        splits: Names of bags by side (train, val, test), one mapping a fold.
        files: Slide or feature file of each slide.
        excluded: Why a slide of the table or a file is not used.
        mpp: Micrometres a pixel of the slides whose table says it.
        inputs: Digest of what the plan was made from.
    """

    kind: str
    task: TaskName
    unit: Unit
    classes: tuple[str, ...]
    bins: int
    bags: Mapping[str, BagEntry]
    splits: tuple[Mapping[str, tuple[str, ...]], ...]
    files: Mapping[str, str]
    excluded: Mapping[str, str] = field(default_factory=dict)
    mpp: Mapping[str, float] = field(default_factory=dict)
    inputs: str = ""

    def plain(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {"format": 1, "field": "pathology", **asdict(self)}

    def digest(self) -> str:
        """A hash of everything but where files lie."""
        return digest({key: value for key, value in self.plain().items() if key != "files"})

    def facts(self) -> dict[str, Any]:
        """The plan in few numbers."""
        said: dict[str, Any] = {
            "kind": self.kind,
            "task": self.task,
            "bags": len(self.bags),
            "patients": len({each.patient for each in self.bags.values()}),
            "folds": len(self.splits),
            "excluded": len(self.excluded),
        }
        if self.task == "classification":
            counts = [0] * len(self.classes)
            for each in self.bags.values():
                counts[each.label or 0] += 1
            return said | {"classes": dict(zip(self.classes, counts, strict=True))}
        return said | {"events": sum(bool(each.event) for each in self.bags.values()),
                       "bins": self.bins}  # fmt: skip


def write_plan(file: Path, plan: Plan) -> None:
    """Write a plan whole."""
    write_json(file, plan.plain())


def read_plan(file: Path) -> Plan:
    """Read a plan.

    Raises:
        BadDataError: It is missing, or no plan of this field.
    """
    content = read_json(file)
    if content.get("field") != "pathology" or content.get("format") != 1:
        raise BadDataError(f"{file}: no plan of pathology. Make it again with medssm plan --force.")
    bags = {
        name: BagEntry(**{**each, "slides": tuple(each["slides"])})
        for name, each in content["bags"].items()
    }
    splits = tuple(
        {side: tuple(names) for side, names in split.items()} for split in content["splits"]
    )
    rest = {key: content[key] for key in ("kind", "task", "unit", "bins", "files", "excluded",
                                          "mpp", "inputs")}  # fmt: skip
    return Plan(classes=tuple(content["classes"]), bags=bags, splits=splits, **rest)
