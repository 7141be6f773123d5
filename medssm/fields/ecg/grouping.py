"""Which records belong together: patients, proxies of patients, and copies of a recording."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from medssm.data.ecg.classes import SOURCES
from medssm.data.findings import Finding
from medssm.fields.ecg.records import EcgRecord


def joined_records(
    records: Sequence[EcgRecord], like: Mapping[str, str], min_leads: int
) -> tuple[list[EcgRecord], list[Finding]]:
    """Patients where files name none, records that come twice, and those with too few leads.

    Args:
        records: As they were read.
        like: For copies in another rate or rounding, the earlier record.
        min_leads: A record with fewer living leads is left out.

    Returns:
        The records, and what was found about them.
    """
    findings: list[Finding] = []
    first: dict[str, EcgRecord] = {}
    by_name: dict[str, EcgRecord] = {}
    rows = []
    for each in records:
        if each.usable and each.leads < min_leads:
            findings.append(_too_few(each, min_leads))
            problems = (*each.findings, findings[-1].problem)
            rows.append(replace(each, status="skipped", findings=problems))
            continue
        record = _with_patient(each) if each.usable else each
        same = first.setdefault(record.sha256, record) if each.usable else record
        by_name[record.name] = record
        if same.name == record.name and like.get(record.name) in by_name:
            same = by_name[like[record.name]]
        if same.name != record.name:
            record = replace(record, same_as=same.same_as or same.name)
            by_name[record.name] = record
            findings.append(_twice(record, same))
        rows.append(record)
    return rows, findings


def _with_patient(record: EcgRecord) -> EcgRecord:
    if record.patient:
        # numbers of two hospitals may coincide
        return replace(record, patient=f"{record.source}:{record.patient}")
    if record.source in SOURCES and record.age is not None and record.codes:
        labels = "+".join(sorted(record.codes))
        key = f"{record.source}:{record.age:g}:{record.sex or '?'}:{labels}"
        return replace(record, patient=key, patient_by="proxy")
    return replace(record, patient=f"record:{record.name}", patient_by="alone")


def _twice(record: EcgRecord, same: EcgRecord) -> Finding:
    differ = set(record.codes or ()) != set(same.codes or ())
    nearly = "" if record.sha256 == same.sha256 else "up to rate and rounding "
    return Finding(
        record.name,
        record.file,
        "duplicate",
        "warning",
        f"{nearly}the same samples as {same.name}" + (", with other labels" if differ else ""),
        "each recording once",
        "Kept on the same side of every split and scored once.",
    )


def _too_few(record: EcgRecord, least: int) -> Finding:
    return Finding(
        record.name,
        record.file,
        "too_few_leads",
        "error",
        f"{record.leads} leads",
        f"{least} at least",
        "Left out; planner.min_leads decides.",
    )
