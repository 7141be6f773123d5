"""The plan of a study of electrocardiograms as a file: classes, window and how signals are made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from medssm.core.errors import BadDataError
from medssm.core.files import read_json
from medssm.data.ecg.classes import EcgClass
from medssm.data.ecg.leads import LEADS

PLAN = "plan.json"
SPLITS = "splits.json"
RECORDS = "records.csv"
FINDINGS = "findings.csv"
Scale = Literal["millivolts", "record", "lead"]


@dataclass(frozen=True)
class EcgPlan:
    """What decides how a signal reaches a network and what its logits mean.

    Args:
        dataset: Its name.
        source: Its folder.
        task: Where the classes come from.
        classes: One a logit.
        rate_hz: Samples a second after resampling.
        window_s: What a network sees at once.
        leads: Rows of a signal.
        scale: mV as they are, or standardised over the record or over each lead.
        clip_mv: Larger values are clipped to it (after scaling).
        bandpass_hz: Zero-phase Butterworth, or None.
        notch_hz: Mains frequency to take out, or None.
        min_leads: A record with fewer is refused.
        splits_by: How the folds were made.
        counts: Records by what became of them.
        made_of: Hash of what the plan was made from.
    """

    dataset: str
    source: str
    task: str
    classes: tuple[EcgClass, ...]
    rate_hz: float = 100.0
    window_s: float = 10.0
    leads: tuple[str, ...] = LEADS
    scale: Scale = "millivolts"
    clip_mv: float = 5.0
    bandpass_hz: tuple[float, float] | None = None
    notch_hz: float | None = None
    min_leads: int = 2
    splits_by: str = "stratified"
    counts: Mapping[str, int] = field(default_factory=dict)
    made_of: str = ""

    @property
    def length(self) -> int:
        """Samples of a window."""
        return round(self.rate_hz * self.window_s)

    def plain(self) -> dict[str, Any]:
        """What plan.json holds."""
        content = asdict(self)
        return {"format": 1, "field": "ecg", **content, "length": self.length}

    def facts(self) -> dict[str, Any]:
        """What configurations refer to as ${plan.…}."""
        return {
            "num_leads": len(self.leads),
            "num_classes": len(self.classes),
            "length": self.length,
            "rate_hz": self.rate_hz,
        }


def read_plan(folder: Path) -> EcgPlan:
    """Read plan.json of a preprocessed or a model folder.

    Raises:
        BadDataError: It is missing or not a plan of this field.
    """
    file = Path(folder) / PLAN
    content = read_json(file)
    if not isinstance(content, dict) or content.get("field") != "ecg":
        raise BadDataError(f"{file}: no plan of electrocardiograms. Make it with: medssm plan")
    known = {name: content[name] for name in EcgPlan.__dataclass_fields__ if name in content}
    try:
        known["classes"] = tuple(EcgClass(**each) for each in known["classes"])
        known["leads"] = tuple(known["leads"])
        band = known.get("bandpass_hz")
        known["bandpass_hz"] = None if band is None else (float(band[0]), float(band[1]))
        return EcgPlan(**known)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadDataError(
            f"{file}: not a whole plan ({type(error).__name__}: {error}). Delete it and plan again."
        ) from error
