"""From a signal as it was recorded to what a network takes: rate, baseline, filters, scale."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import signal as dsp

from medssm.core.errors import BadDataError
from medssm.data.ecg.checks import runs
from medssm.data.ecg.signal import Signal
from medssm.data.findings import Finding
from medssm.fields.ecg.plan_file import EcgPlan

# gaps up to here are bridged by a line
BRIDGED_S = 1.0
_BAND_ORDER = 3
_NOTCH_QUALITY = 30.0
_LARGEST_STEP = 2000
_FEMALE, _MALE = 0.0, 1.0


@dataclass(frozen=True)
class Prepared:
    """A signal that a network takes.

    Args:
        signal: Finite; zero where nothing is known.
        valid: Where something was recorded or bridged.
        present: Leads that are alive.
        findings: Warnings of the preparation.

    Shape:
        signal, valid: (leads, T); present: (leads,).
    """

    signal: np.ndarray
    valid: np.ndarray
    present: np.ndarray
    findings: tuple[Finding, ...] = ()


def preprocess_signal(signal: Signal, plan: EcgPlan) -> Prepared:
    """Prepare a signal as a plan says.

    Raises:
        BadDataError: It has fewer leads than the plan takes.
    """
    rows = dict(zip(signal.leads, signal.millivolts, strict=True))
    empty = np.full(signal.millivolts.shape[1], np.nan, dtype=np.float32)
    values = np.stack([rows.get(lead, empty) for lead in plan.leads])
    present = np.isfinite(values).any(axis=1)
    if present.sum() < plan.min_leads:
        raise BadDataError(
            f"{signal.file}: {int(present.sum())} of the leads {', '.join(plan.leads)} are there "
            f"and alive. Expected {plan.min_leads} at least (planner.min_leads)."
        )
    filled, valid = bridged(values, present, signal.rate_hz)
    median = [
        np.median(row[ok]) if ok.any() else 0.0 for row, ok in zip(filled, valid, strict=True)
    ]
    # before resampling, so that the ends of the record do not jump to zero
    filled -= np.array(median, dtype=np.float32)[:, None]
    made, valid = resampled(filled, valid, signal.rate_hz, plan.rate_hz)
    made -= np.array(
        [np.median(row[ok]) if ok.any() else 0.0 for row, ok in zip(made, valid, strict=True)],
        dtype=np.float32,
    )[:, None]
    made = filtered(made, plan)
    made = np.where(valid, scaled(made, valid, plan), np.float32(0))
    return Prepared(np.ascontiguousarray(made, dtype=np.float32), valid, present)


def bridged(
    values: np.ndarray, present: np.ndarray, rate_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lines over the gaps; only short ones count as valid.

    Shape:
        values: (leads, T) with NaN in gaps; result: (leads, T) finite, and (leads, T) bool.
    """
    finite = np.isfinite(values)
    valid = finite.copy()
    filled = np.where(finite, values, np.float32(0))
    if finite.all():
        return filled, valid
    time = np.arange(values.shape[1])
    for row, ok, good, alive in zip(filled, finite, valid, present, strict=True):
        if not alive or ok.all():
            continue
        row[~ok] = np.interp(time[~ok], time[ok], row[ok])
        for start, stop in runs(~ok):
            good[start:stop] = stop - start <= BRIDGED_S * rate_hz
    return filled, valid


def resampled(
    values: np.ndarray, valid: np.ndarray, from_hz: float, to_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Polyphase resampling of a signal; the nearest sample's validity goes along.

    Shape:
        values, valid: (leads, T); result: the same at the other rate.
    """
    ratio = Fraction(to_hz / from_hz).limit_denominator(_LARGEST_STEP)
    if ratio == 1:
        return values, valid
    made = dsp.resample_poly(values, ratio.numerator, ratio.denominator, axis=1)
    made = made.astype(np.float32, copy=False)
    nearest = np.minimum((np.arange(made.shape[1]) * from_hz / to_hz).round(), values.shape[1] - 1)
    return made, valid[:, nearest.astype(np.int64)]


def filtered(values: np.ndarray, plan: EcgPlan) -> np.ndarray:
    """Band-pass and notch, both without phase, where the plan asks for them."""
    nyquist = plan.rate_hz / 2
    if plan.bandpass_hz is not None:
        low, high = plan.bandpass_hz
        band = [low, min(high, 0.99 * nyquist)]
        sections = dsp.butter(_BAND_ORDER, band, "bandpass", output="sos", fs=plan.rate_hz)
        values = _both_ways(sections, values)
    if plan.notch_hz is not None and plan.notch_hz < nyquist:
        b, a = dsp.iirnotch(plan.notch_hz, _NOTCH_QUALITY, plan.rate_hz)
        values = _both_ways(dsp.tf2sos(b, a), values)
    return values


def _both_ways(sections: np.ndarray, values: np.ndarray) -> np.ndarray:
    # the least padding that still settles; short records have less than the default
    padding = min(values.shape[1] - 1, 3 * (2 * len(sections) + 1))
    made: np.ndarray = dsp.sosfiltfilt(sections, values, axis=1, padlen=padding)
    return made.astype(np.float32)


def scaled(values: np.ndarray, valid: np.ndarray, plan: EcgPlan) -> np.ndarray:
    """Voltages as they are, or standardised over valid samples; clipped in any case."""
    if plan.scale != "millivolts":
        counted = np.where(valid, values, np.nan)
        axis = 1 if plan.scale == "lead" else None
        with np.errstate(invalid="ignore"):
            empty = ~valid.any(axis=1, keepdims=True)
            counted = np.where(empty, 0.0, counted) if axis else counted
            mean = np.nanmean(counted, axis=axis, keepdims=True)
            spread = np.nanstd(counted, axis=axis, keepdims=True)
        values = (values - mean) / np.maximum(spread, 1e-6)
    return np.clip(values, -plan.clip_mv, plan.clip_mv).astype(np.float32)


def about_patient(age: float | None, sex: str | None) -> tuple[float, float]:
    """Age in years and sex (0 female, 1 male) as the network takes them, NaN where unknown."""
    code = {"female": _FEMALE, "male": _MALE}.get(sex or "", float("nan"))
    return float("nan") if age is None else float(age), code
