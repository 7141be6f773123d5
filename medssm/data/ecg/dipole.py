"""A heart as one dipole: waves of a beat, beats in time, and the twelve leads that see them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medssm.data.ecg.leads import LEADS, derive_limb_leads

# rows over (left, down, back); the four other limb leads follow from I and II
_DOWER = {
    "I": (0.632, -0.235, 0.059),
    "II": (0.235, 1.066, -0.132),
    "V1": (-0.515, 0.157, -0.917),
    "V2": (0.044, 0.164, -1.387),
    "V3": (0.882, 0.098, -1.277),
    "V4": (1.213, 0.127, -0.601),
    "V5": (1.125, 0.127, -0.086),
    "V6": (0.831, 0.076, 0.230),
}
SEEN_LEADS = tuple(_DOWER)
MATRIX = np.array(list(_DOWER.values()))  # (8, 3)
# a Gaussian is nothing beyond this many widths
_REACH = 4.5


@dataclass(frozen=True)
class Wave:
    """One Gaussian of the heart vector.

    Args:
        at_s: Its middle, from the peak of R.
        width_s: Its standard deviation.
        vector_mv: Left, down, back.
    """

    at_s: float
    width_s: float
    vector_mv: tuple[float, float, float]

    def moved(self, by_s: float) -> "Wave":
        """The same wave at another time."""
        return replace(self, at_s=self.at_s + by_s)

    def scaled(self, by: float) -> "Wave":
        """The same wave, larger or smaller."""
        return replace(self, vector_mv=_triple(by * np.array(self.vector_mv)))

    def turned(self, degrees: float) -> "Wave":
        """Turned in the frontal plane; positive turns the axis to the right."""
        angle = np.deg2rad(degrees)
        left, down, back = self.vector_mv
        return replace(
            self,
            vector_mv=(
                float(np.cos(angle) * left - np.sin(angle) * down),
                float(np.sin(angle) * left + np.cos(angle) * down),
                back,
            ),
        )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    left, down, back = map(float, values)
    return left, down, back


def heart_vector(beats: Sequence[Sequence[Wave]], seconds: float, rate_hz: float) -> np.ndarray:
    """The sum of all waves of all beats.

    Args:
        beats: Waves in time from the start of the record.
        seconds: Length.
        rate_hz: Samples a second.

    Shape:
        result: (3, T) mV, left, down, back.
    """
    length = round(seconds * rate_hz)
    heart = np.zeros((3, length))
    for wave in (wave for beat in beats for wave in beat):
        first = max(0, int((wave.at_s - _REACH * wave.width_s) * rate_hz))
        last = min(length, int((wave.at_s + _REACH * wave.width_s) * rate_hz) + 2)
        if last <= first:
            continue
        time = np.arange(first, last) / rate_hz - wave.at_s
        bell = np.exp(-0.5 * (time / wave.width_s) ** 2)
        heart[:, first:last] += np.array(wave.vector_mv)[:, None] * bell
    return heart


def twelve_leads(eight: np.ndarray) -> np.ndarray:
    """All leads in the order of `LEADS` from the eight that are independent.

    Shape:
        eight: (8, T) as `SEEN_LEADS`; result: (12, T).
    """
    known = dict(zip(SEEN_LEADS, eight, strict=True))
    known |= derive_limb_leads(known)
    return np.stack([known[lead] for lead in LEADS])
