"""Training windows: record, crop and change, a pure function of (seed, epoch, index)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medssm.data.ecg.leads import LEADS
from medssm.fields.ecg.prepare import about_patient
from medssm.fields.ecg.store import EcgStore
from medssm.fields.ecg.train_config import AugmentConfig
from medssm.training.order import STREAM_SAMPLES, SampleKey, words_of

# the reduced sets of the Challenge 2021
LEAD_SETS = (
    ("I", "II", "III", "aVR", "aVL", "aVF"),
    ("I", "II", "III", "V2"),
    ("I", "II", "V2"),
    ("I", "II"),
)
_MAINS_HZ = (50.0, 60.0)


class WindowSamples(Dataset[dict[str, Tensor]]):
    """Windows of records for training; each epoch shows every record once, in an order of its own.

    Args:
        store: Preprocessed records.
        names: Those to show.
        augment: How they are changed.
        seed: Of order and changes.

    Shape:
        signal: (12, T), target and known: (K,), about: (2,), age in years and sex, NaN unknown.
    """

    def __init__(
        self, store: EcgStore, names: Sequence[str], augment: AugmentConfig, seed: int
    ) -> None:
        self.store, self.names, self.augment, self.seed = store, list(names), augment, seed
        self.targets = torch.from_numpy(np.asarray(store.targets(self.names), np.float32))
        self.known = torch.from_numpy(np.asarray(store.known(self.names), np.float32))
        self.about = about_patients(store, self.names)
        self._order: tuple[int, np.ndarray] | None = None

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        rng = np.random.default_rng(words_of(self.seed, STREAM_SAMPLES, key.epoch, key.number))
        place = self._place(key)
        signal, target, known = self._one(place, rng)
        settings = self.augment
        if settings.mixup > 0 and rng.uniform() < settings.mixed:
            other, its_target, its_known = self._one(int(rng.integers(len(self.names))), rng)
            share = float(rng.beta(settings.mixup, settings.mixup))
            signal = (share * signal + (1 - share) * other).astype(np.float32)
            target, known = share * target + (1 - share) * its_target, known * its_known
        return {
            "signal": torch.from_numpy(signal),
            "target": target,
            "known": known,
            "about": self.about[place],
        }

    def _place(self, key: SampleKey) -> int:
        """Which record stands at a place of the stream; rounds are permutations."""
        turn, index = divmod(key.number, len(self.names))
        if turn:
            rng = np.random.default_rng(words_of(self.seed, key.epoch, turn))
            return int(rng.permutation(len(self.names))[index])
        if self._order is None or self._order[0] != key.epoch:
            rng = np.random.default_rng(words_of(self.seed, key.epoch))
            self._order = key.epoch, rng.permutation(len(self.names))
        return int(self._order[1][index])

    def _one(self, place: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor, Tensor]:
        plan = self.store.plan
        signal = crop(self.store.signal(self.names[place]), plan.length, rng)
        changed = change(signal, plan.rate_hz, self.augment, rng)
        return changed, self.targets[place], self.known[place]


def about_patients(store: EcgStore, names: Sequence[str]) -> Tensor:
    """Age and sex of each record, NaN where unknown; (N, 2)."""
    rows = [about_patient(store.records[name].age, store.records[name].sex) for name in names]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)


def crop(signal: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """A window from anywhere in a record, zeros after a record that is shorter.

    Shape:
        signal: (C, T), result (C, length).
    """
    spare = signal.shape[1] - length
    start = int(rng.integers(spare + 1)) if spare > 0 else 0
    window = np.zeros((signal.shape[0], length), np.float32)
    piece = signal[:, start : start + length]
    window[:, : piece.shape[1]] = piece
    return window


def change(
    signal: np.ndarray, rate_hz: float, settings: AugmentConfig, rng: np.random.Generator
) -> np.ndarray:
    """Change a window as a training does; leads that are absent stay so.

    Shape:
        signal: (C, T) mV, result the same.
    """
    present = (signal != 0).any(1)
    leads, length = signal.shape
    time = np.arange(length) / rate_hz
    if settings.stretch:
        signal = _stretched(signal, 1 + rng.uniform(-settings.stretch, settings.stretch))
    if settings.gain:
        signal = signal * rng.uniform(1 - settings.gain, 1 + settings.gain, (leads, 1))
    if settings.wander_mv:
        phase = 2 * np.pi * (rng.uniform(0.05, 0.5) * time + rng.uniform(0, 1, (leads, 1)))
        signal = signal + rng.uniform(0, settings.wander_mv, (leads, 1)) * np.sin(phase)
    if settings.mains_mv:
        phase = 2 * np.pi * (rng.choice(_MAINS_HZ) * time + rng.uniform(0, 1, (leads, 1)))
        signal = signal + rng.uniform(0, settings.mains_mv) * np.sin(phase)
    if settings.noise_mv:
        scale = rng.uniform(0, settings.noise_mv)
        signal = signal + scale * rng.standard_normal(signal.shape, dtype=np.float32)
    signal = np.asarray(signal, np.float32) * (present & _kept(settings, rng, leads))[:, None]
    if settings.mask_s:
        span = int(rng.uniform(0, settings.mask_s) * rate_hz)
        start = int(rng.integers(max(1, length - span)))
        signal[:, start : start + span] = 0
    return signal


def _stretched(signal: np.ndarray, speed: float) -> np.ndarray:
    """Played at another speed from the start; what is missing at the end is zero."""
    old = np.arange(signal.shape[1], dtype=np.float64)
    return np.stack([np.interp(old * speed, old, row, right=0.0) for row in signal])


def _kept(settings: AugmentConfig, rng: np.random.Generator, leads: int) -> np.ndarray:
    """Which leads stay; never none."""
    if settings.lead_sets and rng.uniform() < settings.lead_sets and leads == len(LEADS):
        chosen = LEAD_SETS[int(rng.integers(len(LEAD_SETS)))]
        return np.array([lead in chosen for lead in LEADS])
    kept = rng.uniform(size=leads) >= settings.lead_dropout
    return kept if kept.any() else np.ones(leads, dtype=bool)
