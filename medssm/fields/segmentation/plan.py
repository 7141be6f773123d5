"""Plan: check the data set, measure it, and decide spacing, patch and batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medssm
from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import digest, read_json, remove_temporaries, sha256, write_json
from medssm.core.log import say, warn
from medssm.data.integrity import Finding, check_manifest, format_findings
from medssm.data.manifest import Manifest
from medssm.data.splits import Split, check_splits, make_splits
from medssm.fields.segmentation.plan_file import DEFAULT_PLANS, OURS, Plan, read_plan
from medssm.runs.workspace import Workspace

# what nnU-Net's planner makes; a stock plans file that stands may hold others
_CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")
_SPLITS = "splits_final.json"


@dataclass(frozen=True)
class PlanConfig:
    """What a user may say about planning.

    Args:
        configuration: "2d" or "3d_fullres"; None takes 3D where the images are.
        plans_name: Name of the plans file.
        memory_gb: What a training step may take.
        max_voxels_3d: Most voxels of a 3D patch; None leaves it to the memory.
        max_voxels_2d: The same for a 2D patch.
        spacing_mm: Size of a voxel to resample to, slices first; None takes the data's median.
            Of a 2d plan the first is not used, but it must be the largest.
        skip_bad: Leave out cases with errors instead of refusing the data set.
        force: Plan again even if the plan fits.
        workers: Threads that read files.
    """

    configuration: str | None = None
    plans_name: str = DEFAULT_PLANS
    memory_gb: float = 8.0
    max_voxels_3d: int | None = None
    max_voxels_2d: int | None = None
    spacing_mm: tuple[float, float, float] | None = None
    skip_bad: bool = False
    force: bool = False
    workers: int = 4

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and min(self.spacing_mm) <= 0:
            raise UsageError(f"planner.spacing_mm={list(self.spacing_mm)}: expected above 0 each.")


def plan(
    config: PlanConfig, network: Mapping[str, Any], manifest: Manifest, workspace: Workspace
) -> Plan:
    """Check, measure and plan a data set, or return the plan that stands.

    Args:
        config: What to do.
        network: The network of the configuration (``name`` and arguments); its memory is measured.
        manifest: The data set.
        workspace: Where the plan goes.

    Returns:
        The plan, with dataset.json, fingerprint and splits written beside it.

    Raises:
        BadDataError: The data set has errors and `skip_bad` is off; the table names them.
        UsageError: The planner makes no such configuration.
    """
    file = workspace.plans_file(config.plans_name)
    inputs = input_hash(config, network, manifest)
    standing = _standing(file, inputs, config)
    if standing is not None:
        return standing
    if config.configuration not in (None, *_CONFIGURATIONS):
        # answered before the minutes of measuring
        wish = config.configuration
        raise UsageError(
            f"planner.configuration={wish!r}: there is none of that name; "
            f"{nearest(str(wish), _CONFIGURATIONS)}"
        )
    # these load torch and nnunetv2: only when there is something to measure
    from medssm.fields.segmentation.memory import measuring_device, memory_models
    from medssm.fields.segmentation.nnunet.fingerprint import extract_fingerprint
    from medssm.fields.segmentation.nnunet.planner import plan_dataset

    usable, skipped = usable_cases(manifest, config.skip_bad, config.workers)
    made_splits = make_splits(usable)
    fingerprint = extract_fingerprint(usable, config.workers)
    models = memory_models(network, usable, config)
    plans = plan_dataset(
        usable, fingerprint, config.plans_name, models, spacing_mm=config.spacing_mm
    )
    plans[OURS] = {
        "version": medssm.__version__,
        "inputs": inputs,
        "network": dict(network),
        "memory": {str(dims): vars(model) for dims, model in models.items()},
        "measured_on": measuring_device(),
        "skipped": sorted(skipped),
        "fingerprint": digest(fingerprint),
        "splits": digest(made_splits),
    }
    folder = workspace.preprocessed
    remove_temporaries(folder)
    content = {**manifest.content, "numTraining": len(usable.cases)}
    write_json(folder / "dataset.json", content)
    write_json(folder / "dataset_fingerprint.json", fingerprint)
    write_json(folder / _SPLITS, _own_splits(usable, folder, made_splits) or made_splits)
    # last: with it the stage is done
    write_json(file, plans)
    made = read_plan(file, config.configuration)
    _say(made, len(usable.cases))
    return made


def input_hash(config: PlanConfig, network: Mapping[str, Any], manifest: Manifest) -> str:
    """A hash of all that a plan depends on: settings, network, dataset.json, sizes and times."""
    files = {
        name: [_stamp(file) for file in (*case.images, case.label) if file is not None]
        for name, case in manifest.cases.items()
    }
    settings = {
        name: value
        for name, value in vars(config).items()
        if name not in ("force", "workers", "configuration")
    }
    own = manifest.folder / _SPLITS
    splits = [sha256(own)] if own.is_file() else []
    return digest([settings, dict(network), manifest.content, files, *splits])


def _own_splits(usable: Manifest, folder: Path, made: list[Split]) -> list[Split] | None:
    """Folds that the user wrote beside the plans, where stock nnU-Net looks for them."""
    file = folder / _SPLITS
    if not file.is_file() or (usable.folder / _SPLITS).is_file():
        return None
    plans = [read_json(each).get(OURS) or {} for each in folder.glob("*[pP]lans*.json")]
    ours = {each["splits"] for each in plans if "splits" in each}
    standing = read_json(file)
    if not ours or digest(standing) in ours or standing == made:
        return None
    say("%s was changed by hand; its folds are kept.", file)
    return check_splits(standing, usable, str(file))


def _stamp(file: Path) -> list[Any]:
    try:
        status = file.stat()
    except OSError:
        return [str(file), None]
    return [str(file), status.st_size, status.st_mtime_ns]


def _standing(file: Path, inputs: str, config: PlanConfig) -> Plan | None:
    if config.force or not file.is_file():
        return None
    plans = read_json(file)
    ours = plans.get(OURS) if isinstance(plans, Mapping) else None
    if ours is None:
        # a stock plan under its own name is a wish, not a leftover
        return read_plan(file, config.configuration) if config.plans_name != DEFAULT_PLANS else None
    if ours.get("inputs") != inputs:
        say("The plan %s is older than its inputs; planning again.", file)
        return None
    skipped = ours.get("skipped", [])
    if skipped:
        warn("%d cases with errors were left out: %s", len(skipped), ", ".join(skipped))
    return read_plan(file, config.configuration)


def usable_cases(manifest: Manifest, skip_bad: bool, workers: int) -> tuple[Manifest, set[str]]:
    """Check every file and leave out the cases with errors, if that is wished.

    Raises:
        BadDataError: There are errors and no wish to skip, or an error that no case owns, or
            nothing is left.
    """
    findings = check_manifest(manifest, workers=workers)
    errors = [finding for finding in findings if finding.severity == "error"]
    if findings:
        warn("%s", format_findings(findings))
    owned = {finding.case for finding in errors if finding.case in manifest.cases}
    orphans = [finding for finding in errors if finding.case not in manifest.cases]
    if errors and not skip_bad:
        raise BadDataError(_refusal(manifest, errors))
    unownable = [finding for finding in orphans if not finding.skippable]
    if unownable:
        raise BadDataError(_refusal(manifest, unownable))
    usable = manifest.without(owned)
    if len(usable.cases) < 2:
        raise BadDataError(
            f"{manifest.folder}: {len(usable.cases)} usable cases are left of "
            f"{len(manifest.cases)}. Expected at least 2, one to train and one to validate."
        )
    if owned:
        say("Going on without %d of %d cases.", len(owned), len(manifest.cases))
    return usable, owned


def _refusal(manifest: Manifest, errors: list[Finding]) -> str:
    cases = sorted({error.case for error in errors if error.case})
    shown = ", ".join(cases[:10]) + (", …" if len(cases) > 10 else "")
    return (
        f"{manifest.folder}: {len(errors)} errors ({shown or 'data set'}); the table above says "
        "where and how to mend them. Mend them, or leave those cases out with --skip-bad."
    )


def _say(made: Plan, cases: int) -> None:
    say(
        "Plan %s, %s: %d cases, spacing %s mm, patch %s, batch %d.",
        made.plans_name,
        made.configuration,
        cases,
        "x".join(f"{each:g}" for each in made.spacing_mm),
        "x".join(map(str, made.patch_size)),
        made.batch_size,
    )
