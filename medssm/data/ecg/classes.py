"""The scored classes of the PhysioNet/CinC Challenges 2020 and 2021, and who annotated them."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

Year = Literal[2020, 2021]
# the sources of the Challenges, as their tables call them
SOURCES = (
    "CPSC", "CPSC_Extra", "StPetersburg", "PTB", "PTB_XL", "Georgia", "Chapman_Shaoxing", "Ningbo",
)  # fmt: skip
_TABLES = Path(__file__).with_name("challenge_tables.json")
_PREFIXES = {
    "A": "CPSC",
    "Q": "CPSC_Extra",
    "I": "StPetersburg",
    "S": "PTB",
    "HR": "PTB_XL",
    "E": "Georgia",
}
_IDENTIFIER = re.compile(r"^(HR|JS|SYN|[AQISE])(\d+)")
# the two hospitals number their records through; the first has this many
_LAST_OF_CHAPMAN = 10646


@dataclass(frozen=True)
class EcgClass:
    """One scored class: SNOMED codes that count as the same.

    Args:
        code: The codes, joined by a pipe where there is more than one.
        abbreviation: Such as AF, joined likewise.
        name: In words.
    """

    code: str
    abbreviation: str
    name: str

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes that count as this class."""
        return tuple(self.code.split("|"))


@cache
def _tables() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_TABLES.read_text(encoding="utf-8"))
    return content


@cache
def challenge_classes(year: Year = 2021) -> tuple[EcgClass, ...]:
    """The scored classes in the order of weights.csv: 26 in 2021, 24 in 2020.

    Source:
        physionetchallenges/evaluation-2021 and evaluation-2020, weights.csv.
    """
    table = _tables()[str(year)]
    same = {first: "|".join(pair) for pair in table.get("equivalent_codes", ()) for first in pair}
    names = table.get("names") or [_name_of(code) for code in table["classes"]]
    return tuple(
        EcgClass(same.get(code, code), short, name)
        for code, short, name in zip(table["classes"], table["abbreviations"], names, strict=True)
    )


def _name_of(code: str) -> str:
    newer = _tables()["2021"]
    for codes, name in zip(newer["classes"], newer["names"], strict=True):
        if code in codes.split("|"):
            return str(name.split("|")[codes.split("|").index(code)])
    raise KeyError(code)


@cache
def _weights(year: Year) -> np.ndarray:
    return np.array(_tables()[str(year)]["weights"], dtype=np.float64)


def challenge_weights(year: Year = 2021) -> np.ndarray:
    """The reward of deciding one class where another is true.

    Shape:
        result: (C, C) float64, symmetric, rows and columns as `challenge_classes`.
    """
    return _weights(year).copy()


def source_of_record(name: str) -> str:
    """The source that a Challenge identifier belongs to; "" for any other name."""
    match = _IDENTIFIER.match(name)
    if match is None:
        return ""
    prefix, number = match.groups()
    if prefix == "SYN":
        return "synthetic"
    if prefix == "JS":
        return "Chapman_Shaoxing" if int(number) <= _LAST_OF_CHAPMAN else "Ningbo"
    return _PREFIXES[prefix]


def known_mask(source: str, classes: Sequence[EcgClass]) -> np.ndarray:
    """Which classes a source annotated at all; absent there does not mean negative elsewhere.

    Args:
        source: One of `SOURCES`; any other source is taken to know every class.
        classes: The classes asked for; those that the Challenge does not count are known.

    Shape:
        result: (C,) bool.

    Source:
        dx_mapping_scored.csv of the Challenge 2021: the counts of each code in each source.
    """
    if source not in SOURCES:
        return np.ones(len(classes), dtype=bool)
    counts = _tables()["2021"]["records_per_source"]
    known = []
    for each in classes:
        counted = [counts[code][source] for code in each.codes if code in counts]
        known.append(not counted or sum(counted) > 0)
    return np.array(known, dtype=bool)


def targets(codes: Iterable[str], classes: Sequence[EcgClass]) -> np.ndarray:
    """One where a record carries any code of a class.

    Shape:
        result: (C,) float32.
    """
    given = set(codes)
    return np.array([float(bool(given & set(each.codes))) for each in classes], dtype=np.float32)


def code_of(abbreviation: str) -> str:
    """The SNOMED code that the 2021 list gives an abbreviation.

    Raises:
        KeyError: There is none.
    """
    for each in challenge_classes(2021):
        names = each.abbreviation.split("|")
        if abbreviation in names:
            return each.codes[names.index(abbreviation)]
    raise KeyError(abbreviation)
