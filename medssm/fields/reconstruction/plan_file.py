"""The plan of a reconstruction as a file: cases, classes of shapes, and decisions."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from medssm.core.errors import BadDataError
from medssm.core.files import read_json
from medssm.core.inert import file_name
from medssm.fields.reconstruction.case_check import CasePlan, Scan, case_of
from medssm.runs.workspace import Workspace

PLAN = "plan.json"
SPLITS = "splits.json"
FORMAT = 1
# fastMRI keeps 8 % of the columns for the centre at fourfold acceleration
_CENTRE_SHARE = 0.08


@dataclass(frozen=True)
class ReconPlan:
    """What was found and decided.

    Args:
        cases: Case to its facts.
        left_out: Case to the reason why it is not used.
        normalisation: What k-space is divided by: a percentile of the image or of k-space.
        supervision: "measured" where training has fully sampled cases, else "simulated".
        acs_columns: A fitting number of columns for the centre of masks.
        scanned: Whether all samples were read for the check, or slices only.
        made_of: Hash of files and settings; another one asks for a new plan.
        remarks: What a user should know about the decisions.
    """

    cases: Mapping[str, CasePlan]
    left_out: Mapping[str, str]
    normalisation: Literal["image", "kspace"]
    supervision: Literal["measured", "simulated"]
    acs_columns: int
    scanned: Scan
    made_of: str
    remarks: tuple[str, ...] = ()

    @property
    def trainable(self) -> list[str]:
        """Cases that folds are made of: the fully sampled ones, or all where there are none."""
        full = [name for name, case in self.cases.items() if case.sampling == "full"]
        return sorted(full or self.cases)

    @property
    def undersampled(self) -> list[str]:
        """Cases without every sample."""
        return [name for name, case in self.cases.items() if case.sampling == "undersampled"]

    @property
    def shape_classes(self) -> list[dict[str, Any]]:
        """Matrix sizes with their numbers of cases and slices: slices of one class make batches."""
        found = Counter(case.shape[1:] for case in self.cases.values())
        return [
            {
                "coils_h_w": list(shape),
                "cases": count,
                "slices": sum(c.shape[0] for c in self.cases.values() if c.shape[1:] == shape),
            }
            for shape, count in sorted(found.items())
        ]

    @property
    def coils(self) -> list[int]:
        """Numbers of coils that occur."""
        return sorted({case.shape[1] for case in self.cases.values()})

    @property
    def centred(self) -> bool:
        """Whether images come by the centred transform."""
        return next(iter(self.cases.values())).centred

    def notes(self) -> dict[str, int]:
        """Notes on files and how many files have each."""
        return dict(Counter(note for case in self.cases.values() for note in case.notes))

    def facts(self) -> dict[str, Any]:
        """The plan in short, for programs and people."""
        cases = self.cases.values()
        accelerations = [case.acceleration for case in cases if case.sampling == "undersampled"]
        return {
            "cases": len(self.cases),
            "patients": len({case.patient for case in cases}),
            "slices": sum(case.shape[0] for case in cases),
            "layouts": dict(Counter(case.layout for case in cases)),
            "shape_classes": self.shape_classes,
            "coils": self.coils,
            "sampling": dict(Counter(case.sampling for case in cases)),
            "accelerations": sorted(set(accelerations)),
            "acs_rows_columns": sorted({case.acs for case in cases if case.acs is not None}),
            "padding_columns": sorted({case.padding for case in cases}),
            "centred": self.centred,
            "normalisation": self.normalisation,
            "supervision": self.supervision,
            "acs_columns": self.acs_columns,
            "scanned": self.scanned,
            "left_out": dict(self.left_out),
        }

    def content(self) -> dict[str, Any]:
        """The file."""
        return {
            "format": FORMAT,
            "field": "reconstruction",
            "cases": {name: asdict(case) for name, case in self.cases.items()},
            "shape_classes": self.shape_classes,
            "coils": self.coils,
            "centred": self.centred,
            "normalisation": self.normalisation,
            "supervision": self.supervision,
            "acs_columns": self.acs_columns,
            "left_out": dict(self.left_out),
            "scanned": self.scanned,
            "made_of": self.made_of,
            "remarks": list(self.remarks),
        }


def plan_of(
    cases: Mapping[str, CasePlan],
    people: Mapping[str, str],
    left_out: Mapping[str, str],
    normalisation: Literal["auto", "image", "kspace"],
    scan: Scan,
    key: str,
) -> ReconPlan:
    """Decide.

    Args:
        cases: What was found; one or more.
        people: Case to patient, as the user or the files say.
        left_out: Case to reason.
        normalisation: The user's wish.
        scan: How much was read.
        key: Hash of files and settings.

    Raises:
        BadDataError: Centred and plain transforms in one data set.
    """
    named = {
        name: CasePlan(**{**vars(case), "patient": people[name]}) for name, case in cases.items()
    }
    _check_centring(named)
    simulated = all(case.sampling == "undersampled" for case in named.values())
    sizes = {case.shape[2:] for case in named.values()}
    chosen = normalisation
    if chosen == "auto":
        chosen = "image" if simulated or len(sizes) > 1 else "kspace"
    return ReconPlan(
        cases=named,
        left_out=dict(left_out),
        normalisation=chosen,
        supervision="simulated" if simulated else "measured",
        acs_columns=_acs_columns(named),
        scanned=scan,
        made_of=key,
        remarks=_remarks(named, simulated),
    )


def _check_centring(cases: Mapping[str, CasePlan]) -> None:
    kinds = {case.centred: name for name, case in cases.items()}
    if len(kinds) > 1:
        raise BadDataError(
            f"{cases[kinds[True]].path} has centred images and {cases[kinds[False]].path} not. "
            "Expected one kind in a data set; import them apart, or say `centred` in CASE.json "
            "beside the arrays."
        )


def _acs_columns(cases: Mapping[str, CasePlan]) -> int:
    found = [case.acs[1] for case in cases.values() if case.acs is not None]
    if found:
        return int(median(found))
    return max(4, round(_CENTRE_SHARE * median(case.shape[3] for case in cases.values())))


def _remarks(cases: Mapping[str, CasePlan], simulated: bool) -> tuple[str, ...]:
    remarks = []
    under = sum(case.sampling == "undersampled" for case in cases.values())
    if simulated:
        remarks.append(
            "no case is fully sampled: training draws images from classical reconstructions and "
            "phantoms, and the figure is the error on withheld samples"
        )
    elif under:
        remarks.append(f"{under} undersampled cases are in no fold: they have no reference")
    if len({case.patient for case in cases.values()}) == 1:
        remarks.append("one patient: training and validation see the same cases")
    if any(case.shape[1] == 1 for case in cases.values()):
        remarks.append("single-coil cases: their sensitivities are 1, so only the prior helps")
    return tuple(remarks)


def read_plan(workspace: Workspace) -> ReconPlan:
    """The plan that was written.

    Raises:
        BadDataError: It is missing, damaged or of another format.
    """
    file = workspace.preprocessed / PLAN
    content = read_json(file)
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return ReconPlan(
            cases={
                file_name(name, "the name of a case", file): case_of(each)
                for name, each in content["cases"].items()
            },
            left_out=content["left_out"],
            normalisation=content["normalisation"],
            supervision=content["supervision"],
            acs_columns=content["acs_columns"],
            scanned=content["scanned"],
            made_of=content["made_of"],
            remarks=tuple(content["remarks"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadDataError(
            f"{file}: not a plan of this version ({error!r}). Expected format {FORMAT}; make it "
            "again with: medssm plan DATASET --force"
        ) from None
