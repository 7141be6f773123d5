"""Plan: what the files hold, whether they can be used, and how they will be learned from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import digest, read_json, write_json
from medssm.core.log import Progress, say, warn
from medssm.core.signature import make
from medssm.data.findings import Finding, format_findings
from medssm.data.patients import patients_by_pattern
from medssm.fields.reconstruction.case_check import CasePlan, Scan, check_case
from medssm.fields.reconstruction.importing import case_files
from medssm.fields.reconstruction.plan_file import PLAN, SPLITS, ReconPlan, plan_of, read_plan
from medssm.fields.reconstruction.splits import SEED, folds_by_patient, given_splits
from medssm.runs.answer import Answer, table
from medssm.runs.compose import compose
from medssm.runs.datasets import source_of
from medssm.runs.field import StudyRequest
from medssm.runs.workspace import Workspace, datasets_under

# files that together are smaller are read to their last sample
_READ_ALL_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class PlanConfig:
    """What a user may say about the plan.

    Args:
        folds: Of the cross-validation; fewer where there are fewer patients.
        seed: Of the folds.
        splits: Whether a split that the data set brings is taken.
        patient: A pattern over case names whose first group, or else whole match, is the patient.
        scan: Read all samples to check them, or the first, middle and last slice; "auto" reads all
            of 4 GiB or less.
        normalisation: Divide by the 99th percentile of the zero-filled image, which does not
            depend on the size of the matrix, or of the masked k-space as DIRECT does; "auto" takes
            the image where sizes differ or data are simulated.
    """

    folds: int = 5
    seed: int = SEED
    splits: Literal["auto", "folds"] = "auto"
    patient: str | None = None
    scan: Literal["auto", "all", "probe"] = "auto"
    normalisation: Literal["auto", "image", "kspace"] = "auto"


def plan_reconstruction(request: StudyRequest) -> Answer:
    """Check and plan a data set.

    Raises:
        BadDataError: Files that cannot be used, unless --skip-bad leaves them out; none is left;
            a split that leaks.
        UsageError: No such data set, or a wrong override.
    """
    workspace, plan = ensure_plan(request)
    facts = {"dataset": workspace.dataset, **plan.facts()}
    shown = {key: value for key, value in facts.items() if key != "left_out"}
    lines = table(_rows(shown), ("plan", ""))
    lines += [f"left out: {case}: {reason}" for case, reason in plan.left_out.items()]
    lines += [f"note: {note} ({count} files)" for note, count in plan.notes().items()]
    lines += list(plan.remarks)
    written = [workspace.preprocessed / PLAN, workspace.preprocessed / SPLITS]
    return Answer(facts, lines, written, request.following("preprocess"))


def ensure_plan(request: StudyRequest) -> tuple[Workspace, ReconPlan]:
    """The plan of a data set; made (again) where it is missing, or files or settings changed.

    Raises:
        BadDataError: As `plan_reconstruction`.
    """
    workspace = open_study(request.dataset, request.home)
    config = _config(request)
    source = source_of(workspace)
    files = case_files(source)
    patients = _stored_patients(workspace, files, config)
    key = digest([
        vars(config), request.skip_bad, patients,
        {case: [str(file), file.stat().st_size, file.stat().st_mtime_ns]
         for case, file in files.items()},
    ])  # fmt: skip
    if not request.force and (workspace.preprocessed / PLAN).is_file():
        found = read_plan(workspace)
        if found.made_of == key:
            return workspace, found
        say("files or settings changed since the plan was made: planning again.")
    plan, splits = _make(source, files, patients, config, request.skip_bad, key)
    write_json(workspace.preprocessed / SPLITS, splits)
    write_json(workspace.preprocessed / PLAN, plan.content())
    return workspace, plan


def open_study(dataset: str, home: Path) -> Workspace:
    """The workspace of a registered data set, by its folder, name or number.

    Raises:
        UsageError: There is none; the message offers the nearest.
    """
    home = Path(home).expanduser().absolute()
    folder = Path(dataset).expanduser().absolute()
    if (folder / "dataset.json").is_file():
        return Workspace(home, folder.name, folder)
    known = datasets_under(home)
    wanted = f"Dataset{int(dataset):03d}_" if dataset.isdigit() else None
    fits = [name for name in known if name == dataset or (wanted and name.startswith(wanted))]
    if len(fits) == 1:
        return Workspace(home, fits[0], home / "raw" / fits[0])
    if fits:
        raise UsageError(
            f"number {dataset} stands for {' and '.join(fits)} under {home}; write the whole name."
        )
    raise UsageError(
        f"there is no folder and no data set {dataset!r} under {home}; {nearest(dataset, known)} "
        "Import one with: medssm import kspace SRC"
    )


def _config(request: StudyRequest) -> PlanConfig:
    content = compose("reconstruction", request.overrides)
    config: PlanConfig = make(PlanConfig, content.get("planner") or {}, "planner")
    if config.folds < 2:
        raise UsageError(f"planner.folds={config.folds}: expected 2 or more.")
    return config


def _stored_patients(
    workspace: Workspace, files: Mapping[str, Path], config: PlanConfig
) -> dict[str, str]:
    """Patients that the user named: by a pattern of the plan, or at the import."""
    if config.patient is not None:
        return patients_by_pattern(files, config.patient)
    record = read_json(workspace.raw_folder / "dataset.json")
    named = {str(case): str(who) for case, who in (record.get("patients") or {}).items()}
    strangers = sorted(set(files) - set(named)) if named else []
    if strangers:
        raise BadDataError(
            f"{workspace.raw_folder / 'dataset.json'}: {', '.join(strangers[:5])} came after the "
            "import, which names a patient for every case. Import again with --patient or "
            f"--patients and --name {workspace.dataset}."
        )
    return named


def _make(
    source: Path, files: Mapping[str, Path], patients: Mapping[str, str], config: PlanConfig,
    skip_bad: bool, key: str,
) -> tuple[ReconPlan, list[dict[str, list[str]]]]:  # fmt: skip
    size = sum(file.stat().st_size for file in files.values())
    scan: Scan = "all" if size <= _READ_ALL_BYTES else "probe"
    if config.scan != "auto":
        scan = config.scan
    cases, findings = _checked(files, scan)
    if findings:
        warn("%s", format_findings(findings))
    if findings and not skip_bad:
        raise BadDataError(
            f"{source}: {len(findings)} of {len(files)} files cannot be used: "
            f"{'; '.join(f'{each.file}: {each.found}' for each in findings[:5])}. Expected whole, "
            "consistent k-space (table above). Mend them, or leave them out with --skip-bad."
        )
    if not cases:
        raise BadDataError(f"{source}: none of {len(files)} files can be used (table above).")
    people = {case: patients.get(case, found.patient) for case, found in cases.items()}
    left_out = {each.case: f"{each.found} [{each.file}]" for each in findings}
    plan = plan_of(cases, people, left_out, config.normalisation, scan, key)
    usable = {case: people[case] for case in plan.trainable}
    known = [*left_out, *(set(cases) - set(usable))]
    splits = given_splits(source, files, usable, known) if config.splits == "auto" else None
    return plan, splits or folds_by_patient(usable, config.folds, config.seed)


def _checked(files: Mapping[str, Path], scan: Scan) -> tuple[dict[str, CasePlan], list[Finding]]:
    cases, findings = {}, []
    bar = Progress(len(files), "check")
    for name, file in files.items():
        found = check_case(name, file, scan)
        if isinstance(found, Finding):
            findings.append(found)
        else:
            cases[name] = found
        bar.step(name)
    return cases, findings


def _rows(facts: Mapping[str, Any]) -> list[list[str]]:
    """The facts as a person reads them."""
    written = dict(facts)
    written["shape_classes"] = [
        f"{each['cases']} × (coils {each['coils_h_w'][0]}, H {each['coils_h_w'][1]}, "
        f"W {each['coils_h_w'][2]})"
        for each in facts["shape_classes"]
    ]
    written["acs_rows_columns"] = [f"{rows} × {columns}" for rows, columns in
                                   facts["acs_rows_columns"]]  # fmt: skip
    written["padding_columns"] = [f"{left} left + {right} right" for left, right in
                                  facts["padding_columns"]]  # fmt: skip
    return [[key, _word(value)] for key, value in written.items()]


def _word(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_word(each) for each in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{_word(each)} {key}" for key, each in value.items()) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
