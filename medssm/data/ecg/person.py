"""What is said beside a signal: age, sex and statements, as the sources write them."""

import re
from pathlib import Path

from medssm.data.ecg.classes import code_of
from medssm.data.ecg.signal import remark
from medssm.data.findings import Finding

_OLDEST = 120.0
_UNKNOWN = {"", "nan", "unknown", "none", "n/a", "na", "?"}
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "w": "female"}
_DICOM_AGE = re.compile(r"^(\d{1,3})([DWMY])$")
_DAYS = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def read_age(file: Path, text: object) -> tuple[float | None, list[Finding]]:
    """Years, or None where nothing or nothing true is said."""
    word = "" if text is None else str(text).strip()
    if word.lower() in _UNKNOWN:
        return None, []
    match = _DICOM_AGE.match(word.upper())
    try:
        age = float(match[1]) / _DAYS[match[2]] if match else float(word)
    except ValueError:
        age = float("nan")
    if 0 <= age <= _OLDEST:
        return age, []
    return None, [
        remark(file, "age", f"age {word}", f"0 to {_OLDEST:g} years", "Taken as unknown.")
    ]


def read_sex(file: Path, text: object) -> tuple[str | None, list[Finding]]:
    """Male, female, or None where nothing or nothing known is said."""
    word = "" if text is None else str(text).strip().lower()
    if word in _UNKNOWN:
        return None, []
    sex = _SEXES.get(word)
    if sex is not None:
        return sex, []
    return None, [remark(file, "sex", f"sex {word}", "male or female", "Taken as unknown.")]


def codes_of(text: object) -> tuple[str, ...] | None:
    """Statements of a comma-separated list; None where there is none, which is unlabelled."""
    if text is None:
        return None
    if isinstance(text, (list, tuple)):
        return tuple(map(str, text))
    codes = [word.strip() for word in re.split(r"[,;\s]+", str(text)) if word.strip()]
    return tuple(dict.fromkeys(codes)) or None


def contradictions(file: Path, codes: tuple[str, ...] | None) -> list[Finding]:
    """Statements that exclude each other; they are kept."""
    given = set(codes or ())
    pairs = [("NSR", "SB"), ("NSR", "STach"), ("SB", "STach"), ("NSR", "AF"), ("NSR", "AFL")]
    both = [f"{a} and {b}" for a, b in pairs if {code_of(a), code_of(b)} <= given]
    if not both:
        return []
    return [
        remark(file, "labels_contradict", ", ".join(both), "one rhythm", "Kept as it is written.")
    ]
