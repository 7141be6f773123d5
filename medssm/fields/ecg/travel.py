"""What travels in a bundle of electrocardiograms: from files to windows, from logits to answers."""

import csv
import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor, nn

from medssm.bundle.travel.answers import case_names
from medssm.core.errors import BadDataError
from medssm.data.ecg.classes import EcgClass, known_mask, targets
from medssm.data.ecg.read import read_record
from medssm.data.ecg.signal import Signal
from medssm.fields.ecg.calibration import Calibration, logit, no_calibration
from medssm.fields.ecg.plan_file import EcgPlan
from medssm.fields.ecg.prepare import about_patient, preprocess_signal
from medssm.fields.ecg.recordings import Recording, find_inputs, open_recording
from medssm.fields.ecg.windows import Pool, Reader, WindowPlan

_LOGGER = logging.getLogger("bundle")
_UNKNOWN = (float("nan"), float("nan"))


def list_records(dataset_dir: str, labels_file: str | None = None) -> list[dict[str, str]]:
    """The records of a folder, or the one file.

    Args:
        dataset_dir: WFDB, .mat, .npy, .csv, DICOM, EDF, XML or HDF5 files, at any depth.
        labels_file: A CSV with the columns record (file name without ending) and codes (SNOMED,
            joined by semicolons). Where it is missing, or a record is not in it, the codes in the
            record's own header count.

    Raises:
        BadDataError: There is no record, or the table has other columns.
    """
    place = Path(dataset_dir)
    files = find_inputs(place)
    names = case_names(files, place if place.is_dir() else place.parent)
    given = labels_file is not None and Path(labels_file).is_file()
    told = _told_codes(Path(str(labels_file))) if given else {}
    return [
        {"image": str(file), "case": name, **_codes(file, told)}
        for file, name in zip(files, names, strict=True)
    ]


def _told_codes(file: Path) -> dict[str, str]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if not {"record", "codes"} <= set(reader.fieldnames or ()):
            raise BadDataError(
                f"{file}: has the columns {', '.join(reader.fieldnames or ('none',))}. Expected "
                "record, codes."
            )
        return {row["record"]: row["codes"] for row in reader}


def _codes(file: Path, told: Mapping[str, str]) -> dict[str, str]:
    return {"codes": told[file.stem]} if file.stem in told else {}


class _Recordd(MapTransform):
    """What the two transforms below share: the plan, and labels."""

    strict = True

    def __init__(
        self,
        keys: KeysCollection,
        plan: Mapping[str, Any],
        length: int,
        classes: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(keys)
        made: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in plan.items()
        }
        self.plan = EcgPlan("", "", "", (), **made)
        self.length, self.classes = length, tuple(EcgClass(**each) for each in classes)

    def _label(self, case: dict[Hashable, Any], signal: Signal | None) -> dict[Hashable, Any]:
        # some records have them and some not, and MONAI joins only what all have
        text = case.pop("codes", None)
        if not self.classes:
            return {}
        count = len(self.classes)
        if signal is None:
            return {"label": torch.full((count,), float("nan"))}
        codes = signal.codes if text is None else tuple(text.replace(";", " ").split())
        if codes is None:
            problem = f"{signal.file}: no diagnosis in its header, and none in labels_file."
            if self.strict:
                raise BadDataError(f"{problem} Give a row with record={Path(signal.file).stem}.")
            _LOGGER.warning("%s It does not count.", problem)
            return {"label": torch.full((count,), float("nan"))}
        known = known_mask(signal.source, self.classes)
        label = np.where(known, targets(codes, self.classes), np.nan)
        return {"label": torch.from_numpy(label.astype(np.float32))}


class ReadWindowsd(_Recordd):
    """Read a record, prepare it as the plan says and cut it into windows.

    A record that cannot be read has no window and "problem" says why; without diagnoses its label
    is NaN. The others go on.

    Args:
        keys: Files.
        plan: rate_hz, leads, scale, clip_mv, bandpass_hz, notch_hz, min_leads.
        length: Samples of a window.
        classes: code, abbreviation and name of each class, to give "label" too; empty for none.
        overlap: Share of a window that the next one covers again.
        most: At most so many windows, spread evenly; 0 takes all.

    Shape:
        result: (W, leads, length), and "about", age and sex, (2,).
    """

    strict = False

    def __init__(
        self,
        keys: KeysCollection,
        plan: Mapping[str, Any],
        length: int,
        classes: Sequence[Mapping[str, str]] = (),
        overlap: float = 0.5,
        most: int = 12,
    ) -> None:
        super().__init__(keys, plan, length, classes)
        self.windows = WindowPlan(length, overlap, most)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the records of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            file = Path(case[key])
            case |= {"file": str(file), "about": torch.tensor(_UNKNOWN), "problem": ""}
            signal = None
            try:
                recording = open_recording(file, self.plan, "")
                signal = recording.signal
                made = self._cut(recording)
                case |= {"about": torch.tensor(recording.about), "warnings": _told(recording)}
            except BadDataError as error:
                made = np.zeros((0, len(self.plan.leads), self.length), np.float32)
                case |= {"problem": str(error), "warnings": ""}
            case[key] = torch.from_numpy(made)
            case |= self._label(case, signal)
        return case

    def _cut(self, recording: Recording) -> np.ndarray:
        if recording.is_long:
            return np.concatenate([part for part, _ in recording.spans(self.windows)])
        signal = recording.prepared()
        return self.windows.cut(signal, self.windows.starts(signal.shape[1]))


def _told(recording: Recording) -> str:
    leads = zip(recording.plan.leads, recording.ready.present, strict=True)
    absent = [f"lead {lead} missing or flat" for lead, there in leads if not there]
    return "; ".join([*absent, *(f"{each.problem}: {each.found}" for each in recording.findings)])


class ReadRandomWindowd(_Recordd):
    """Read a record, prepare it as the plan says and take a window from anywhere in it.

    Args:
        keys: Files.
        plan: As of `ReadWindowsd`.
        length: Samples of the window.
        classes: code, abbreviation and name of each class.

    Shape:
        result: (leads, length), zeros after a record that is shorter; "about": (2,).
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the records of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            signal = read_record(Path(case[key]))
            ready = preprocess_signal(signal, self.plan).signal
            spare = max(0, ready.shape[1] - self.length)
            start = int(torch.randint(spare + 1, ()))
            window = WindowPlan(self.length).cut(ready, [start])[0]
            case |= self._label(case, signal)
            case |= {"about": torch.tensor(about_patient(signal.age, signal.sex))}
            case[key] = torch.from_numpy(window)
        return case


class WindowsInferer(Inferer):
    """Ask a network about the windows of a record and join what it says.

    Args:
        pool: "mean" or "max" of the windows' probabilities.
        batch: Windows at a time.

    Shape:
        inputs: (B, W, leads, length), about: (B, 2); result (B, K), the logit of the joined
        probability; NaN for a record without a window.
    """

    def __init__(self, classes: int, pool: Pool = "mean", batch: int = 64) -> None:
        super().__init__()
        self.classes, self.pool, self.batch = classes, pool, batch

    def __call__(
        self, inputs: Tensor, network: nn.Module, about: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Compute the logits of whole records."""
        if about is None:
            about = torch.full((len(inputs), 2), float("nan"))
        rows = [
            self._record(windows.cpu().numpy(), who.tolist(), network, inputs.device)
            for windows, who in zip(inputs, about, strict=True)
        ]
        return torch.from_numpy(np.stack(rows)).to(inputs.device)

    def _record(
        self, windows: np.ndarray, about: Sequence[float], network: nn.Module, device: torch.device
    ) -> np.ndarray:
        if not len(windows):
            return np.full(self.classes, np.nan)
        reader = Reader([network], [no_calibration(self.classes)], device, self.batch)
        raw = reader.raw(windows, [(about[0], about[1])] * len(windows))
        return logit(WindowPlan(windows.shape[-1], pool=self.pool).join(raw[0]))


class CalibratedAnswerd(MapTransform):
    """Turn logits into calibrated probabilities, decisions and an answer that can be written.

    Args:
        keys: Logits, (K,); they become probabilities.
        classes: code, abbreviation and name of each class.
        slope: Factor of each logit.
        shift: Added to it.
        thresholds: A probability at or above it is a yes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        classes: Sequence[Mapping[str, str]],
        slope: Sequence[float],
        shift: Sequence[float],
        thresholds: Sequence[float],
    ) -> None:
        super().__init__(keys)
        self.classes = [EcgClass(**each) for each in classes]
        self.calibration = Calibration(np.array(slope), np.array(shift), np.array(thresholds))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Answer about the records of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            raw = 0.5 * (1 + np.tanh(0.5 * case[key].double().cpu().numpy()))
            chances = self.calibration.apply(raw)
            case[key] = torch.from_numpy(chances)
            about = {name: str(case[name]) for name in ("case", "file", "warnings", "problem")}
            case["answer"] = {**about, "rows": [] if case["problem"] else self._rows(chances)}
        return case

    def _rows(self, chances: np.ndarray) -> list[dict[str, Any]]:
        return [
            {
                "snomed": each.code,
                "abbreviation": each.abbreviation,
                "name": each.name,
                "probability": float(f"{value:.9g}"),
                "threshold": round(float(cut), 6),
                "decided": int(value >= cut),
            }
            for each, value, cut in zip(
                self.classes, chances, self.calibration.thresholds, strict=True
            )
        ]


class KnownLoss(nn.Module):
    """Binary cross-entropy over the classes that a record's source tells of.

    Shape:
        logits, label: (B, K), NaN in `label` where nothing is known; result ().
    """

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The mean over what is known."""
        known = torch.isfinite(label)
        return F.binary_cross_entropy_with_logits(logits[known], label[known].to(logits.dtype))
