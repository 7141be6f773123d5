"""CSV and .npy: a column or row a lead, with what they cannot say in a NAME.json beside them."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.files import read_json
from medssm.data.ecg.leads import canonical_lead
from medssm.data.ecg.signal import Raw, ReadOptions, RecordError, Span, expect_bytes, refuse
from medssm.data.ecg.units import per_millivolt

_TIME = re.compile(r"^(?:time|t|seconds?)(?:\s*[\[(](s|ms)[\])])?$", re.IGNORECASE)
_UNIT = re.compile(r"[\[(]\s*([a-zµμ]+)\s*[\])]\s*$", re.IGNORECASE)
_FACTS = ("age", "sex", "patient", "source")


def looks_like_record(file: Path) -> bool:
    """Whether a CSV names a lead in its first line, or holds numbers only, or nothing."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        cells = [cell.strip() for cell in re.split(r"[,;\t]", stream.readline())]
    words = [cell for cell in cells if cell and not _is_number(cell)]
    return not words or any(canonical_lead(_UNIT.sub("", word).strip()) for word in words)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_csv(file: Path, options: ReadOptions, span: Span | None = None) -> Raw:
    """Read a CSV: lead names in the first line, with a unit in brackets where it is not mV.

    A column `time` (seconds, or `time (ms)`), NAME.json with rate_hz, or planner.table_rate_hz
    gives the rate.

    Raises:
        RecordError: No lead names, no rate, or text where numbers stand.
    """
    expect_bytes(file)
    beside = _beside(file)
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        first_line = stream.readline()
        delimiter = max(",;\t", key=first_line.count)
        cells = next(csv.reader([first_line], delimiter=delimiter))
        names = [cell.strip() for cell in cells]
        if all(_is_number(name) for name in names):
            raise refuse(
                file, "no_leads", "numbers in the first line", "names of leads",
                "Add a first line such as I,II,III,aVR,…; leads are never guessed.",
            )  # fmt: skip
        try:
            values = np.loadtxt(
                stream, dtype=np.float64, delimiter=delimiter, ndmin=2,
                converters=lambda word: float(word) if word.strip() else float("nan"),
            )  # fmt: skip
        except ValueError as error:
            raise refuse(
                file, "truncated", f"a line that does not fit ({error})",
                f"{len(names)} numbers a line", "Write the file again.",
            ) from error  # fmt: skip
    if values.size and values.shape[1] != len(names):
        raise refuse(
            file, "truncated", f"{values.shape[1]} columns", f"{len(names)} by the first line",
            "Write the file again.",
        )  # fmt: skip
    rate = _rate(file, names, values, beside, options)
    rows, leads = [], []
    for index, name in enumerate(names):
        if _TIME.match(name):
            continue
        match = _UNIT.search(name)
        unit = match[1] if match else str(beside.get("unit", "mV"))
        leads.append(_UNIT.sub("", name).strip())
        rows.append(values[:, index] / _per_mv(file, unit))
    return _cut_out(file, np.array(rows), leads, rate, beside, span)


def read_npy(file: Path, options: ReadOptions, span: Span | None = None) -> Raw:
    """Read an array (leads, T); NAME.json names leads, rate_hz and unit.

    Raises:
        RecordError: NAME.json is missing or does not fit, or the file is no plain array.
    """
    expect_bytes(file)
    beside = _beside(file)
    try:
        values = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise refuse(
            file, "truncated", f"{file.stat().st_size} bytes that are no array ({error})",
            "a whole array of numbers", "Write the file again.",
        ) from error  # fmt: skip
    leads = [str(name) for name in beside.get("leads", ())]
    if not leads:
        raise refuse(
            file, "no_leads", "an array without names", f"{file.stem}.json beside it with leads",
            'Write {"leads": ["I", …], "rate_hz": 500, "unit": "mV"}; leads are never guessed.',
        )  # fmt: skip
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.shape[0] != len(leads):
        raise refuse(
            file, "shape", f"{values.dtype} {values.shape}", f"numbers ({len(leads)}, T)",
            "Write the file again.",
        )  # fmt: skip
    rate = _rate(file, [], values, beside, options)
    per_mv = _per_mv(file, str(beside.get("unit", "mV")))
    first, last = (span or Span()).samples(rate, values.shape[1])
    part = np.asarray(values[:, first:last], dtype=np.float32) / np.float32(per_mv)
    return _cut_out(file, part, leads, rate, beside, None)


def _cut_out(
    file: Path, values: np.ndarray, leads: list[str], rate: float, beside: dict[str, Any],
    span: Span | None,
) -> Raw:  # fmt: skip
    if values.ndim != 2 or not values.size:
        raise refuse(file, "empty", "no samples", "a signal", "Write the file again.")
    first, last = (span or Span()).samples(rate, values.shape[1])
    facts: dict[str, object] = {name: beside.get(name) for name in _FACTS}
    if "codes" in beside:
        facts["dx"] = beside["codes"]
    # infinite is as little a voltage as NaN is
    part = values[:, first:last].astype(np.float32)
    part[~np.isfinite(part)] = np.nan
    return Raw(part, tuple(leads), rate, facts=facts)


def _beside(file: Path) -> dict[str, Any]:
    path = file.with_suffix(".json")
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise _bad_beside(path, f"a {type(content).__name__}")
    return content


def _bad_beside(path: Path, found: str) -> RecordError:
    return refuse(path, "header", found, "an object with leads and rate_hz", "Write it again.")


def _per_mv(file: Path, unit: str) -> float:
    per_mv = per_millivolt(unit)
    if per_mv is None:
        raise refuse(file, "unit", f"unit {unit!r}", "mV, uV, V or nV", "Name the right unit.")
    return per_mv


def _rate(
    file: Path, names: list[str], values: np.ndarray, beside: dict[str, Any], options: ReadOptions
) -> float:
    said = beside.get("rate_hz", options.rate_hz)
    for index, name in enumerate(names):
        match = _TIME.match(name)
        if match and len(values) > 1:
            step = float(np.median(np.diff(values[:, index])))
            said = (1000.0 if (match[1] or "").lower() == "ms" else 1.0) / step if step > 0 else 0
    try:
        rate = float(str(said))
    except ValueError:
        rate = 0.0
    if not 10 <= rate <= 100_000:
        raise refuse(
            file, "rate", f"a rate of {said}", "10 to 100000 Hz",
            f"Add a column time, or rate_hz to {file.stem}.json, or say planner.table_rate_hz.",
        )  # fmt: skip
    return round(rate, 6)
