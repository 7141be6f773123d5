"""Looks at a signal: leads by name, gaps, flat and clipped ones, and what cannot be used."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medssm.data.ecg.leads import LEADS, canonical_lead, derive_limb_leads
from medssm.data.ecg.signal import Raw, refuse, remark
from medssm.data.ecg.units import PLAUSIBLE_MV, amplitude_mv
from medssm.data.findings import Finding

SHORTEST_S = 1.0
SHORT_S = 5.0
_LONG_S = 120.0
_MOSTLY = 0.5
# III against II - I, in mV
_IDENTITY_MV = 0.1
_RAIL = 32767
_IMPOSSIBLE_MV = 10_000.0
_FEWEST_ON_RAIL = 3


def to_millivolts(raw: Raw) -> tuple[np.ndarray, np.ndarray]:
    """Counts to mV, and where samples stuck to the end of their range.

    Shape:
        result: (leads, T) float32 with NaN for clipped samples, and (leads, T) bool.
    """
    values = raw.values.astype(np.float32, copy=False)
    clipped = np.zeros(values.shape, dtype=bool)
    if raw.counts_per_mv is None:
        return _possible(values), clipped
    if float(np.nanmax(np.abs(values), initial=0.0)) >= _RAIL:
        clipped = _long_runs(np.abs(values) >= _RAIL, _FEWEST_ON_RAIL)
        values = np.where(clipped, np.float32(np.nan), values)
    baselines = raw.baselines if raw.baselines is not None else np.zeros(len(values))
    millivolts = (values - baselines[:, None]) / raw.counts_per_mv[:, None]
    return _possible(millivolts.astype(np.float32)), clipped


def _possible(millivolts: np.ndarray) -> np.ndarray:
    """NaN for what no electrode can give: infinities, and numbers of broken files."""
    # broken files hold bit patterns that complain when they are compared
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(millivolts) < _IMPOSSIBLE_MV, millivolts, np.float32(np.nan))


def _long_runs(flags: np.ndarray, least: int) -> np.ndarray:
    kept = np.zeros_like(flags)
    for row, given in zip(kept, flags, strict=True):
        for start, stop in runs(given):
            row[start:stop] = stop - start >= least
    return kept


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last of each run of true values.

    Shape:
        flags: (T,) bool.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def ordered_leads(
    file: Path, names: Sequence[str], values: np.ndarray
) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """The twelve leads by name; limb leads that follow from two others are added.

    Raises:
        RecordError: No lead has a name that we know.
    """
    found: dict[str, np.ndarray] = {}
    findings: list[Finding] = []
    strange, twice = [], []
    for name, row in zip(names, values, strict=True):
        lead = canonical_lead(name)
        if lead is None:
            strange.append(name or "(no name)")
        elif lead in found:
            twice.append(lead)
        else:
            found[lead] = row
    if not found:
        raise refuse(
            file, "no_leads", f"leads {', '.join(strange[:6])}", "names such as I, aVR, V1",
            "Name the leads: they are never guessed from their position.",
        )  # fmt: skip
    # a Frank or chest lead more is no trouble; one that may be taken for a standard lead is
    missing = [lead for lead in LEADS if lead not in found]
    if strange and missing:
        findings.append(
            remark(file, "lead_unknown", ", ".join(strange[:6]), "standard leads",
                   "Left out; MLII and its like are not II.")
        )  # fmt: skip
    if twice:
        findings.append(
            remark(file, "lead_twice", ", ".join(twice), "each lead once", "The first is used.")
        )
    present = list(found)
    if present != sorted(present, key=LEADS.index):
        findings.append(
            remark(file, "lead_order", " ".join(present), " ".join(LEADS), "Put in order by name.")
        )
    derived = derive_limb_leads(found)
    if derived:
        findings.append(
            remark(file, "lead_derived", f"no {', '.join(derived)}", "twelve leads",
                   "Computed from the limb leads that are there.")
        )  # fmt: skip
    found |= derived
    missing = [lead for lead in LEADS if lead not in found]
    if missing:
        findings.append(
            remark(file, "lead_missing", f"no {', '.join(missing)}", "twelve leads",
                   "Masked; the network is told.")
        )  # fmt: skip
    return {lead: found[lead] for lead in LEADS if lead in found}, findings


def check_signal(
    file: Path, leads: Sequence[str], values: np.ndarray, clipped: bool, rate_hz: float
) -> tuple[np.ndarray, list[Finding]]:
    """Look for what is flat, missing, too short, too large or broken.

    Args:
        file: For messages.
        leads: Names of the rows.
        values: The signal in mV.
        clipped: Whether samples stuck to the end of their range.
        rate_hz: Samples a second.

    Returns:
        The signal with flat leads as NaN, and warnings.

    Raises:
        RecordError: All flat, mostly not valid, shorter than a second, or of no plausible size.

    Shape:
        values: (leads, T).
    """
    seconds = values.shape[1] / rate_hz
    if seconds < SHORTEST_S:
        raise refuse(
            file, "too_short", f"{seconds:.2f} s", f"{SHORTEST_S:g} s or more", "Take a longer one."
        )
    valid = np.isfinite(values)
    findings = _gaps(file, leads, valid, clipped, rate_hz)
    low = np.where(valid, values, np.inf).min(axis=1)
    high = np.where(valid, values, -np.inf).max(axis=1)
    flat = high - low <= 1e-6
    lost = ~valid.any(axis=1)
    if (flat | lost).all():
        raise refuse(file, "all_flat", "nothing but flat leads", "a heart", "Record it again.")
    bad = 1 - valid[~lost].mean() if lost.any() else 1 - valid.mean()
    if bad > _MOSTLY:
        raise refuse(
            file, "mostly_bad", f"{bad:.0%} of the samples are not valid", f"{_MOSTLY:.0%} at most",
            "Record it again.",
        )  # fmt: skip
    _refuse_size(file, values[~(flat | lost)])
    named = [lead for lead, dead in zip(leads, flat | lost, strict=True) if dead]
    if named:
        findings.append(
            remark(file, "flat", ", ".join(named), "a signal", "Masked; the network is told.")
        )
        values = np.where((flat | lost)[:, None], np.float32(np.nan), values)
    findings += [*_identity(file, leads, values), *_length(file, seconds)]
    return values, findings


def _gaps(
    file: Path, leads: Sequence[str], valid: np.ndarray, clipped: bool, rate_hz: float
) -> list[Finding]:
    if valid.all():
        return []
    findings = []
    part = [(lead, row) for lead, row in zip(leads, valid, strict=True) if row.any()]
    holes = {lead: runs(~row) for lead, row in part if not row.all()}
    longest = max((b - a for each in holes.values() for a, b in each), default=0) / rate_hz
    if holes:
        findings.append(
            remark(file, "gap", f"{', '.join(holes)}: the longest {longest:.2f} s",
                   "samples throughout", "Up to 1 s interpolated, longer ones masked.")
        )  # fmt: skip
    if clipped:
        findings.append(
            remark(file, "clipped", "samples at the end of their range", "samples inside it",
                   "Taken as gaps.")
        )  # fmt: skip
    return findings


def _refuse_size(file: Path, values: np.ndarray) -> None:
    amplitude = amplitude_mv(values)
    low, high = PLAUSIBLE_MV
    if not low <= amplitude <= high:
        raise refuse(
            file, "amplitude", f"{amplitude:.3g} mV", f"{low} to {high} mV",
            "Check the unit and the gain; they are never guessed.",
        )  # fmt: skip


def _identity(file: Path, leads: Sequence[str], values: np.ndarray) -> list[Finding]:
    """Warn where III is not II - I."""
    rows = {lead: row for lead, row in zip(leads, values, strict=True) if np.isfinite(row).any()}
    if not {"I", "II", "III"} <= rows.keys():
        return []
    step = max(1, values.shape[1] // 2_500)
    seen = (rows[lead][::step] for lead in ("I", "II", "III"))
    # baselines may differ by device, the shape may not
    first, second, third = (row - np.nanmedian(row) for row in seen)
    off = float(np.nanmedian(np.abs(third - (second - first))))
    if off <= _IDENTITY_MV:
        return []
    return [
        remark(file, "limb_identity", f"III differs from II - I by {off:.2f} mV",
               f"{_IDENTITY_MV} mV at most", "Leads may be swapped or misfiled; look at the page.")
    ]  # fmt: skip


def _length(file: Path, seconds: float) -> list[Finding]:
    if seconds < SHORT_S:
        return [remark(file, "short", f"{seconds:.1f} s", f"{SHORT_S:g} s", "Padded and masked.")]
    if seconds > _LONG_S:
        return [
            remark(file, "long", f"{seconds:.0f} s", f"{_LONG_S:g} s at most", "Taken in windows.")
        ]
    return []


def hash_of(values: np.ndarray) -> str:
    """SHA-256 of the samples in microvolts, the same for the same recording in any format.

    Shape:
        values: (leads, T) mV; NaN counts as -2147483648.
    """
    lowest = np.iinfo(np.int32).min
    scaled = np.round(values * np.float32(1000))
    whole = np.where(np.isfinite(scaled), scaled, lowest).astype("<i4")
    return hashlib.sha256(np.ascontiguousarray(whole).tobytes()).hexdigest()
