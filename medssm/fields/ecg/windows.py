"""Windows over a record: where they lie, and what a network says of them together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from medssm.core.errors import UsageError
from medssm.fields.ecg.calibration import Calibration

Pool = Literal["mean", "max"]


@dataclass(frozen=True)
class WindowPlan:
    """How windows lie over a record and are joined.

    Args:
        length: Samples of a window.
        overlap: Share of a window that the next one covers again.
        most: At most so many, spread evenly; 0 takes all.
        pool: How their probabilities are joined.
    """

    length: int
    overlap: float = 0.5
    most: int = 12
    pool: Pool = "mean"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise UsageError(f"overlap={self.overlap}: expected 0 to below 1.")
        if self.most < 0:
            raise UsageError(f"windows={self.most}: expected 0 (all) or more.")

    def starts(self, samples: int) -> list[int]:
        """First samples of the windows, the last one ending with the record."""
        spare = samples - self.length
        if spare <= 0:
            return [0]
        step = max(1, round(self.length * (1 - self.overlap)))
        count = -(-spare // step) + 1
        if self.most:
            count = min(count, self.most)
        if count == 1:
            return [spare // 2]
        return [round(spare * index / (count - 1)) for index in range(count)]

    def cut(self, signal: np.ndarray, starts: Sequence[int]) -> np.ndarray:
        """The windows, zeros after a record that is shorter.

        Shape:
            signal: (C, T); result (W, C, length).
        """
        result = np.zeros((len(starts), signal.shape[0], self.length), np.float32)
        for row, start in zip(result, starts, strict=True):
            piece = signal[:, start : start + self.length]
            row[:, : piece.shape[1]] = piece
        return result

    def join(self, probabilities: np.ndarray) -> np.ndarray:
        """One row of all windows'.

        Shape:
            probabilities: (W, K); result (K,).
        """
        return probabilities.max(0) if self.pool == "max" else probabilities.mean(0)


@dataclass(frozen=True)
class Reader:
    """Networks of one model with their calibrations: from windows to probabilities.

    Args:
        networks: One a fold, in evaluation mode.
        calibrations: Theirs.
        device: Where they compute.
        batch: Windows at a time.
    """

    networks: Sequence[nn.Module]
    calibrations: Sequence[Calibration]
    device: torch.device
    batch: int = 64

    @torch.inference_mode()
    def raw(self, windows: np.ndarray, about: Sequence[tuple[float, float]]) -> np.ndarray:
        """What every network says of every window, not calibrated.

        Args:
            windows: Signals.
            about: Age and sex of each window's patient.

        Shape:
            windows: (W, 12, T); result (networks, W, K) float64.
        """
        signals = torch.from_numpy(windows)
        patients = torch.tensor(about, dtype=torch.float32).reshape(-1, 2)
        found = []
        for network in self.networks:
            parts = [
                network(x.to(self.device), a.to(self.device)).double().sigmoid().cpu()
                for x, a in _batches(signals, patients, self.batch)
            ]
            found.append(torch.cat(parts).numpy())
        return np.stack(found)

    def joined(self, raw: np.ndarray, plan: WindowPlan) -> np.ndarray:
        """The probabilities of one record: windows joined, calibrated, then the mean of networks.

        Shape:
            raw: (networks, W, K); result (K,).
        """
        rows = [
            calibration.apply(plan.join(each))
            for each, calibration in zip(raw, self.calibrations, strict=True)
        ]
        result: np.ndarray = np.mean(rows, axis=0)
        return result

    def records(
        self,
        signals: Sequence[np.ndarray],
        about: Sequence[tuple[float, float]],
        plan: WindowPlan,
    ) -> list[np.ndarray]:
        """The probabilities of several records, their windows in common batches.

        Shape:
            signals: (12, T) each, any T; results (K,) each.
        """
        starts = [plan.starts(signal.shape[1]) for signal in signals]
        windows = [plan.cut(signal, each) for signal, each in zip(signals, starts, strict=True)]
        patients = [who for who, each in zip(about, starts, strict=True) for _ in each]
        raw = self.raw(np.concatenate(windows), patients)
        ends = np.cumsum([len(each) for each in starts])
        parts = np.split(raw, ends[:-1], axis=1)
        return [self.joined(part, plan) for part in parts]


def _batches(signals: Tensor, patients: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(signals, size), torch.split(patients, size), strict=True)
