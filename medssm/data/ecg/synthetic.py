"""Synthetic records: labels drawn, a heart that has them, noise, and the Challenge's own files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medssm.data.ecg.beats import atrial_activity, draw_heart, make_beats
from medssm.data.ecg.challenge_files import RecordText, write_challenge_record
from medssm.data.ecg.classes import challenge_classes, code_of
from medssm.data.ecg.dipole import MATRIX, heart_vector, twelve_leads

# the classes of the CPU experiment
SECTION11 = (
    "NSR", "SB", "STach", "SA", "AF", "AFL", "PAC", "PVC", "IAVB", "LBBB", "RBBB", "LAD", "RAD",
    "LQRSV", "LQT", "TInv", "PR",
)  # fmt: skip
ALL = tuple(
    each.abbreviation.split("|")[0].replace("VPB", "PVC") for each in challenge_classes(2021)
)
# exactly one of a group, or none where the chances leave room; then each on its own
_RHYTHMS = {
    "NSR": 0.29, "SB": 0.14, "STach": 0.14, "SA": 0.09, "AF": 0.14, "AFL": 0.10, "PR": 0.10,
    "Brady": 0.10,
}  # fmt: skip
_CONDUCTION = {"LBBB": 0.11, "RBBB": 0.12, "BBB": 0.08, "IRBBB": 0.10, "NSIVCB": 0.10}
_AXIS = {"LAD": 0.11, "RAD": 0.11, "LAnFB": 0.09}
_DELAY = {"IAVB": 0.16, "LPR": 0.12}
_REPOLARISATION = {"TInv": 0.13, "TAb": 0.11}
_ALONE = {"PAC": 0.14, "PVC": 0.13, "LQRSV": 0.11, "LQT": 0.13, "PRWP": 0.09, "QAb": 0.09}
# labels that a rhythm or a block leaves no room for
_EXCLUDES = {
    "PR": {*_CONDUCTION, *_AXIS, *_DELAY, *_REPOLARISATION, "PAC", "PRWP", "QAb"},
    "AF": {*_DELAY, "PAC"},
    "AFL": {*_DELAY, "PAC"},
    "Brady": {*_DELAY, "PAC"},
    "STach": {*_DELAY, "LQT"},
    "SA": {"PAC"},
    "LBBB": {*_REPOLARISATION, "PRWP", "QAb"},
    "BBB": {"PRWP", "QAb"},
    "LAnFB": {"QAb"},
    "PRWP": {"QAb", "RBBB", "IRBBB"},
    "QAb": {"RBBB", "IRBBB"},
}  # fmt: skip


@dataclass(frozen=True)
class SyntheticShape:
    """How a synthetic record is taken.

    Args:
        seconds: Length.
        rate_hz: Samples a second.
    """

    seconds: float = 10.0
    rate_hz: float = 500.0


def make_synthetic_records(
    folder: Path, n: int, seed: int = 0, classes: Literal["all", "section11"] = "all",
    shape: SyntheticShape | None = None,
) -> list[Path]:  # fmt: skip
    """Write records as .hea and .mat; each stands for a patient of its own.

    Args:
        folder: Made if missing.
        n: How many.
        seed: Record i is a function of (seed, i); seeds differ in the names of their records.
        classes: All 26 scored ones of 2021, or the 17 of the CPU experiment.
        shape: Length and rate.

    Returns:
        The headers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = shape or SyntheticShape()
    chosen = ALL if classes == "all" else SECTION11
    files = []
    for index in range(n):
        rng = np.random.default_rng([seed, index, 0])
        labels = draw_labels(rng, chosen)
        person = np.random.default_rng([seed, index, 1])
        text = RecordText(
            codes=[code_of(label) for label in ALL if label in labels],
            age=float(person.integers(18, 90)),
            sex=str(person.choice(["male", "female"])),
        )
        signal = synthetic_signal(labels, rng, shape)
        file = folder / f"SYN{seed:03d}{index:05d}"
        files.append(write_challenge_record(file, signal, shape.rate_hz, text))
    return files


def draw_labels(rng: np.random.Generator, allowed: Sequence[str] = ALL) -> frozenset[str]:
    """One rhythm and what goes with it; about two labels a record."""
    labels = {_one_of(rng, _RHYTHMS, allowed, certain=True)}
    for group in (_CONDUCTION, _AXIS, _DELAY, _REPOLARISATION):
        labels.add(_one_of(rng, group, allowed))
    labels |= {label for label, chance in _ALONE.items() if rng.uniform() < chance}
    labels &= set(allowed)
    for label in [each for each in (*_RHYTHMS, *_CONDUCTION, *_AXIS, *_ALONE) if each in labels]:
        if label in labels:
            labels -= _EXCLUDES.get(label, set())
    return frozenset(labels)


def _one_of(
    rng: np.random.Generator, chances: dict[str, float], allowed: Sequence[str],
    certain: bool = False,
) -> str:  # fmt: skip
    names = [name for name in chances if name in allowed]
    shares = np.array([chances[name] for name in names])
    place = rng.uniform(0, shares.sum() if certain else 1.0)
    index = int(np.searchsorted(np.cumsum(shares), place, side="right"))
    return names[index] if index < len(names) else ""


def synthetic_signal(
    labels: frozenset[str], rng: np.random.Generator, shape: SyntheticShape | None = None
) -> np.ndarray:
    """The twelve leads of a heart with these labels.

    Shape:
        result: (12, T) float32 mV in the order of `LEADS`.

    Source:
        A dipole and the Dower matrix; waves after McSharry et al., 2003, in three dimensions.
    """
    shape = shape or SyntheticShape()
    heart = draw_heart(labels, rng)
    beats = make_beats(heart, shape.seconds, rng)
    vector = heart_vector(beats, shape.seconds, shape.rate_hz)
    time = np.arange(vector.shape[1]) / shape.rate_hz
    eight = MATRIX @ (vector + atrial_activity(heart, time, rng))
    leads = twelve_leads(eight + _noise(time, len(eight), rng))
    # an electrode's gain strays: from here on III is only nearly II - I
    leads *= rng.uniform(0.9, 1.1, (len(leads), 1))
    return leads.astype(np.float32)


def _noise(time: np.ndarray, leads: int, rng: np.random.Generator) -> np.ndarray:
    """Wander of the baseline, mains and white noise."""
    wander = np.zeros((leads, len(time)))
    for rate in rng.uniform(0.1, 0.45, 3):
        phase = rng.uniform(0, 2 * np.pi, (leads, 1))
        wander += rng.uniform(0.0, 0.05, (leads, 1)) * np.sin(2 * np.pi * rate * time + phase)
    phase = rng.uniform(0, 2 * np.pi, (leads, 1))
    mains = rng.uniform(0.0, 0.012, (leads, 1)) * np.sin(2 * np.pi * 50.0 * time + phase)
    white = rng.uniform(0.006, 0.02) * rng.standard_normal((leads, len(time)))
    return np.asarray(wander + mains + white)
