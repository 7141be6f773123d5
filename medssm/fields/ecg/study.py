"""A study of a data set: its workspace, its configuration and the files it is made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medssm.core.errors import BadDataError, UsageError
from medssm.core.signature import make
from medssm.fields.ecg.imports import import_ecg, recognise
from medssm.fields.ecg.plan_file import Scale
from medssm.runs.compose import compose
from medssm.runs.datasets import field_of_folder, source_of
from medssm.runs.field import ImportRequest, StudyRequest
from medssm.runs.workspace import Workspace, open_workspace

Task = Literal[
    "auto", "challenge2021", "challenge2020", "codes", "ptbxl_all", "ptbxl_diagnostic",
    "ptbxl_subdiagnostic", "ptbxl_superdiagnostic", "ptbxl_form", "ptbxl_rhythm",
]  # fmt: skip
# stands in while there is no plan, so that files which refer to it can be read
_NO_PLAN = {"num_leads": 12, "num_classes": 26, "length": 1000, "rate_hz": 100.0}


@dataclass(frozen=True)
class PlanConfig:
    """What a user may decide about a plan (planner.KEY=VALUE).

    Args:
        task: Where the classes come from; "auto" takes PTB-XL's superclasses for PTB-XL, the
            Challenge's where its codes occur, else every code that is frequent enough.
        classes: Abbreviations or codes of those to keep; all of the task's by default.
        min_count: A code of the task "codes" occurs in that many records at least.
        merge_flutter: Fibrillation and flutter as one class.
        rate_hz: Samples a second for the network.
        window_s: What the network sees at once.
        scale: mV as they are, or standardised over the record or over each lead.
        clip_mv: Larger values are clipped.
        bandpass_hz: Corners of a zero-phase band-pass; None filters nothing.
        notch_hz: Mains frequency to take out.
        min_leads: A record with fewer is refused.
        splits: How folds are made; "auto" takes the source's own where it publishes some.
        folds: How many.
        split_seed: Of the folds.
        default_gain: Counts per mV where a header has none.
        table_rate_hz: Rate of CSV and .npy files that do not say theirs.
        strict: Take warnings for errors.
        workers: Processes; 0 chooses by the amount of work.
    """

    task: Task = "auto"
    classes: tuple[str, ...] | None = None
    min_count: int = 10
    merge_flutter: bool = False
    rate_hz: float = 100.0
    window_s: float = 10.0
    scale: Scale = "millivolts"
    clip_mv: float = 5.0
    bandpass_hz: tuple[float, float] | None = None
    notch_hz: float | None = None
    min_leads: int = 2
    splits: Literal["auto", "stratified", "ptbxl", "leave_one_source_out"] = "auto"
    folds: int = 5
    split_seed: int = 12345
    default_gain: float | None = None
    table_rate_hz: float | None = None
    strict: bool = False
    workers: int = 0


@dataclass(frozen=True)
class EcgStudy:
    """A data set with its configuration.

    Args:
        workspace: Its folders.
        source: Where the records lie.
        config: The plan's configuration.
        request: As it was asked.
    """

    workspace: Workspace
    source: Path
    config: PlanConfig
    request: StudyRequest


def open_study(request: StudyRequest) -> EcgStudy:
    """Find the data set, or import the folder, and read the configuration.

    Raises:
        UsageError: A key or value that does not fit, or there is no such data set.
        BadDataError: The data set is of another field, or its source is gone.
    """
    config = plan_config(request.overrides)
    workspace = _workspace(request)
    if field_of_folder(workspace.raw_folder) != "ecg":
        raise BadDataError(
            f"{workspace.raw_folder}: no data set of electrocardiograms. Import one with: medssm "
            "import ecg FOLDER"
        )
    return EcgStudy(workspace, source_of(workspace), config, request)


def plan_config(overrides: tuple[str, ...]) -> PlanConfig:
    """The typed configuration of a plan.

    Raises:
        UsageError: A key or value that does not fit.
    """
    content = compose("ecg", overrides, _NO_PLAN)
    config: PlanConfig = make(PlanConfig, dict(content.get("planner") or {}), "planner")
    if config.rate_hz <= 0 or config.window_s <= 0 or config.folds < 2 or config.clip_mv <= 0:
        raise UsageError(
            "planner: rate_hz, window_s and clip_mv must be above 0, and folds 2 or more."
        )
    band = config.bandpass_hz
    if band is not None and not (len(band) == 2 and 0 < band[0] < band[1]):
        raise UsageError(f"planner.bandpass_hz={band}: expected [low, high], e.g. [0.5, 47].")
    return config


def _workspace(request: StudyRequest) -> Workspace:
    folder = Path(request.dataset).expanduser().absolute()
    if folder.is_dir() and (folder / "dataset.json").is_file():
        return Workspace(Path(request.home).absolute(), folder.name, folder)
    if folder.is_dir() and recognise(folder):
        answer = import_ecg(ImportRequest("ecg", folder, request.home))
        return open_workspace(str(answer.facts["dataset"]), request.home)
    return open_workspace(request.dataset, request.home)
