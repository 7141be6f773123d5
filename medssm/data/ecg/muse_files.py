"""GE MUSE XML: eight leads of sixteen-bit samples in base64, four leads computed from them."""

import base64
import binascii
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from medssm.data.ecg.signal import Raw, ReadOptions, RecordError, Span, expect_bytes, refuse
from medssm.data.ecg.units import per_millivolt

_ENTITY = re.compile(rb"<!ENTITY", re.IGNORECASE)


def read_muse(file: Path, _: ReadOptions, span: Span | None = None) -> Raw:
    """Read the rhythm waveform of a MUSE file, or its longest where none is called so.

    Raises:
        RecordError: It is no MUSE file, defines entities, or its samples are cut.

    Source:
        Elements as GE's exports have them (RestingECG, Waveform, LeadData); no official schema.
    """
    expect_bytes(file)
    root = _parsed(file)
    waves = root.findall(".//Waveform")
    if not waves:
        raise refuse(
            file, "format", f"XML of {root.tag}", "RestingECG with a Waveform",
            "Take the export of MUSE, or convert it.",
        )  # fmt: skip
    wave = max(waves, key=lambda each: (_said(each, "WaveformType").lower() == "rhythm",
                                        len(_said(each, "LeadData/WaveFormData"))))  # fmt: skip
    rate = _rate(file, wave)
    names, rows = [], []
    for lead in wave.findall("LeadData"):
        names.append(_said(lead, "LeadID"))
        rows.append(_samples(file, lead, names[-1]))
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise refuse(
            file, "truncated", f"leads of {sorted(lengths)} samples", "leads of one length",
            "Export it again.",
        )  # fmt: skip
    values = np.stack(rows)
    first, last = (span or Span()).samples(rate, values.shape[1])
    patient = "PatientDemographics"
    facts: dict[str, object] = {
        "patient": _said(root, f".//{patient}/PatientID") or None,
        "sex": _said(root, f".//{patient}/Gender").lower(),
        "age": _age(root, patient),
    }
    return Raw(values[:, first:last], tuple(names), rate, facts=facts)


def _parsed(file: Path) -> ElementTree.Element:
    content = file.read_bytes()
    if _ENTITY.search(content):
        raise refuse(
            file, "format", "an XML that defines entities", "plain XML", "Export it again."
        )
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise refuse(
            file, "truncated", f"{len(content)} bytes that are no whole XML ({error})",
            "a whole XML file", "Export it again.",
        ) from error  # fmt: skip


def _said(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _rate(file: Path, wave: ElementTree.Element) -> float:
    try:
        rate = float(_said(wave, "SampleBase")) * 10 ** int(_said(wave, "SampleExponent") or 0)
    except ValueError:
        rate = 0.0
    if not 10 <= rate <= 100_000:
        found = _said(wave, "SampleBase") or "nothing"
        raise refuse(file, "rate", f"SampleBase {found}", "10 to 100000 Hz", "Export it again.")
    return rate


def _age(root: ElementTree.Element, patient: str) -> str:
    age, unit = _said(root, f".//{patient}/PatientAge"), _said(root, f".//{patient}/AgeUnits")
    letter = unit[:1].upper()
    return f"{age}{letter}" if age.isdigit() and letter in ("D", "W", "M", "Y") else age


def _samples(file: Path, lead: ElementTree.Element, name: str) -> np.ndarray:
    unit = _said(lead, "LeadAmplitudeUnits") or "MICROVOLTS"
    per_mv = per_millivolt(unit)
    if per_mv is None:
        raise refuse(file, "unit", f"unit {unit!r} of {name}", "MICROVOLTS", "Export it again.")
    try:
        per_bit = float(_said(lead, "LeadAmplitudeUnitsPerBit"))
    except ValueError:
        per_bit = 0.0
    if per_bit <= 0:
        raise refuse(
            file, "gain", f"no LeadAmplitudeUnitsPerBit for {name}", "microvolts a bit, e.g. 4.88",
            "Export it again.",
        )  # fmt: skip
    counts = _counts(file, lead, name)
    values = counts.astype(np.float32) * np.float32(per_bit / per_mv)
    values[counts == -32768] = np.nan
    return values


def _counts(file: Path, lead: ElementTree.Element, name: str) -> np.ndarray:
    try:
        raw = base64.b64decode("".join(_said(lead, "WaveFormData").split()), validate=True)
    except binascii.Error as error:
        raise _cut(file, f"base64 of {name} that ends early ({error})") from error
    if len(raw) % 2 or not raw:
        raise _cut(file, f"{len(raw)} bytes of {name}")
    counts = np.frombuffer(raw, "<i2")
    said = _said(lead, "LeadSampleCountTotal")
    if said.isdigit() and int(said) != len(counts):
        raise _cut(file, f"{len(counts)} of {said} samples of {name}")
    return counts


def _cut(file: Path, found: str) -> RecordError:
    return refuse(file, "truncated", found, "all samples of a lead", "Export it again.")
