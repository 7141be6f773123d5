"""Headers of WFDB records (.hea), read so that every known slip of the Challenges passes."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from medssm.data.ecg.signal import RecordError, expect_bytes, refuse, remark
from medssm.data.findings import Finding

_RECORD = re.compile(
    r"^(?P<name>\S+)\s+(?P<leads>\d+)\s+(?P<rate>[\d.eE+]+)(?:/\S+)?(?:\s+(?P<samples>\d+)\b)?(?P<rest>.*)$"
)
_GAIN = re.compile(r"^(?P<gain>[-+\d.eE]+)(?:\((?P<zero>-?\d+)\))?(?:/(?P<unit>.+))?$")
_FORMAT = re.compile(r"^(?P<code>\d+)(?:x(?P<often>\d+))?(?::\d+)?(?:\+(?P<skip>\d+))?$")
_COMMENT = re.compile(r"^#\s*(?P<key>\w+)\s*:\s*(?P<value>.*)$")
_FACTS = ("age", "sex", "dx")


@dataclass(frozen=True)
class LeadLine:
    """One line of a header.

    Args:
        file: Of the samples.
        code: Storage format, e.g. 16.
        skip: Bytes before the samples.
        often: Samples of this lead a frame.
        gain: Counts a unit; None where it says none that can be read.
        baseline: Count of zero.
        unit: As written; "mV" where the line says none.
        checksum: Sum of the samples in sixteen bits; None where it is left out.
        name: Of the lead.
    """

    file: str
    code: int
    skip: int
    often: int
    gain: float | None
    baseline: int
    unit: str
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """A header.

    Args:
        name: Of the record, without .mat.
        rate_hz: Samples a second.
        samples: Of a lead; None where it is left out.
        segments: Whether the record is a list of other records.
        lines: One a lead.
        facts: age, sex and dx as text, where the comments have them.
        findings: What was mended.
    """

    name: str
    rate_hz: float
    samples: int | None
    segments: bool
    lines: tuple[LeadLine, ...]
    facts: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def read_header(file: Path) -> Header:
    """Read a header with all the slips seen in public ones.

    Known slips: .mat in the record's name, the record line and the first lead's joined, dates with
    hyphens, `# Dx` and `#Dx`, `1000.0(0)/mV` and `1000/mv`.

    Raises:
        RecordError: It is no header.
    """
    expect_bytes(file)
    text = file.read_bytes().decode("utf-8-sig", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    body = [line for line in lines if not line.startswith("#")]
    match = _RECORD.match(body[0]) if body else None
    if match is None:
        shown = repr(body[0][:60]) if body else "comments only"
        raise _no_header(file, shown)
    findings = []
    name, rest = match["name"], match["rest"]
    if name.lower().endswith((".mat", ".dat", ".hea")):
        name = name[:-4]
        findings.append(_mended(file, f"the record is called {match['name']}", "no ending"))
    joined = re.search(rf"{re.escape(name)}\S*\.(?:mat|dat)\s+\d", rest)
    if joined:
        body.insert(1, rest[joined.start() :])
        findings.append(_mended(file, "the first two lines are joined", "one line each"))
    segments = "/" in name
    count = int(match["leads"])
    if not segments and (count == 0 or len(body) - 1 < count):
        raise _no_header(file, f"{len(body) - 1} lead lines for {count} leads")
    rate = _rate(file, match["rate"])
    parsed = () if segments else tuple(_lead_line(file, line) for line in body[1 : count + 1])
    return Header(
        name.partition("/")[0],
        rate,
        int(match["samples"]) if match["samples"] else None,
        segments,
        parsed,
        _facts(lines),
        tuple(findings),
    )


def _facts(lines: list[str]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for line in lines:
        match = _COMMENT.match(line)
        if match and match["key"].lower() in _FACTS:
            facts.setdefault(match["key"].lower(), match["value"].strip())
    return facts


def _rate(file: Path, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 10 <= rate <= 100_000:
        raise refuse(file, "rate", f"a rate of {text} Hz", "10 to 100000 Hz", "Correct the header.")
    return rate


def _lead_line(file: Path, line: str) -> LeadLine:
    words = line.split()
    form = _FORMAT.match(words[1]) if len(words) > 1 else None
    if form is None:
        raise _no_header(file, f"the lead line {line[:60]!r}")
    gain, baseline, unit = _gain(words[2] if len(words) > 2 else "")
    # format, gain, resolution, zero, first value, checksum, block size, name
    if baseline is None:
        baseline = _whole(words[4]) if len(words) > 4 else 0
    return LeadLine(
        file=words[0],
        code=int(form["code"]),
        skip=int(form["skip"] or 0),
        often=int(form["often"] or 1),
        gain=gain,
        baseline=baseline or 0,
        unit=unit,
        checksum=_whole(words[6]) if len(words) > 6 else None,
        name=" ".join(words[8:]) if len(words) > 8 else "",
    )


def _gain(word: str) -> tuple[float | None, int | None, str]:
    match = _GAIN.match(word)
    if match is None:
        return None, None, "mV"
    try:
        gain = float(match["gain"])
    except ValueError:
        return None, None, match["unit"] or "mV"
    zero = int(match["zero"]) if match["zero"] else None
    # zero stands for "not calibrated"; infinity and NaN for nothing
    usable = 0 < abs(gain) < float("inf")
    return (gain if usable else None), zero, match["unit"] or "mV"


def _whole(word: str) -> int | None:
    try:
        return int(word)
    except ValueError:
        return None


def _mended(file: Path, found: str, expected: str) -> Finding:
    return remark(file, "header_mended", found, expected, "Nothing to do: read as it was meant.")


def _no_header(file: Path, found: str) -> RecordError:
    return refuse(
        file, "header", found, "a WFDB header: NAME LEADS RATE SAMPLES and a line a lead",
        "Restore the header from its source.",
    )  # fmt: skip
