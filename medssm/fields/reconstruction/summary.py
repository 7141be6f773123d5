"""Scores of all cases as means with intervals, and compared pair by pair."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from medssm.fields.reconstruction.case_scores import CaseScores
from medssm.metrics.reconstruction import CONVENTIONS
from medssm.metrics.statistics import Comparison, Interval, bootstrap, compare
from medssm.runs.answer import table

# what a person sees first; every measure is in the tables
SHOWN = (
    "fastmri.whole.ssim", "fastmri.whole.psnr", "fastmri.foreground.ssim", "fastmri.whole.nmse",
    "calgary_campinas.whole.ssim", "calgary_campinas.whole.psnr", "calgary_campinas.whole.vif",
)  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """What came of an evaluation.

    Args:
        method: What was evaluated.
        measures: Names of all measures, as convention.region.measure.
        means: Method to measure to mean over volumes with interval.
        withheld: Method to error on withheld samples, over volumes without reference.
        against: Name of the other predictions, and measure to the comparison with them.
        baselines: Method to measure to the comparison of the predictions with that method.
        calibration: How honest stated uncertainties are: means over volumes.
        factor: What a factor for them does, where one was fitted.
    """

    method: str
    measures: Sequence[str]
    means: Mapping[str, Mapping[str, Interval]]
    withheld: Mapping[str, Interval]
    against: tuple[str, Mapping[str, Comparison]] | None
    baselines: Mapping[str, Mapping[str, Comparison]]
    calibration: Mapping[str, float]
    factor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """One number to choose by: fastMRI's SSIM, or 1 less the error on withheld samples."""
        found = self.means.get(self.method, {}).get("fastmri.whole.ssim")
        if found is not None:
            return found.mean
        blind = self.withheld.get(self.method)
        return float("nan") if blind is None else 1 - blind.mean

    def facts(self) -> dict[str, Any]:
        """The numbers as plain data."""
        return {
            "conventions": {name: each.definition for name, each in CONVENTIONS.items()},
            "mean": {
                method: {name: asdict(each) for name, each in values.items()}
                for method, values in self.means.items()
            },
            "withheld_error": {name: asdict(each) for name, each in self.withheld.items()},
            "against": None
            if self.against is None
            else {
                "method": self.against[0],
                "differences": {name: asdict(each) for name, each in self.against[1].items()},
            },
            "against_baselines": {
                method: {name: asdict(each) for name, each in found.items()}
                for method, found in self.baselines.items()
            },
            "calibration": dict(self.calibration),
            "calibration_factor": dict(self.factor),
        }


def summarise(
    method: str, cases: Sequence[CaseScores], others: tuple[str, Sequence[CaseScores]] | None
) -> Summary:
    """Means over volumes with bootstrap intervals, and paired comparisons.

    Args:
        method: What was evaluated.
        cases: Its scores, with baselines.
        others: Name and scores of other predictions of the same cases.
    """
    methods = list(dict.fromkeys(name for case in cases for name in case.volume))
    measures = list(dict.fromkeys(
        name for case in cases for values in case.volume.values() for name in values
    ))  # fmt: skip
    means = {
        name: {
            measure: bootstrap([c.volume[name][measure] for c in cases if name in c.volume])
            for measure in measures
        }
        for name in methods
    }
    blind = list(dict.fromkeys(name for case in cases for name in case.withheld))
    withheld = {
        name: bootstrap([case.withheld[name] for case in cases if name in case.withheld])
        for name in blind
    }
    ours = {case.case: case.volume.get(method, {}) for case in cases}
    baselines = {
        name: _compared(ours, {case.case: case.volume.get(name, {}) for case in cases}, measures)
        for name in methods
        if name != method
    }
    against = None
    if others is not None:
        theirs = {case.case: case.volume.get(others[0], {}) for case in others[1]}
        against = (others[0], _compared(ours, theirs, measures))
    return Summary(method, measures, means, withheld, against, baselines, _calibration(cases))


def _compared(
    ours: Mapping[str, Mapping[str, float]],
    theirs: Mapping[str, Mapping[str, float]],
    measures: Sequence[str],
) -> dict[str, Comparison]:
    common = [name for name in ours if theirs.get(name) and ours[name]]
    if not common:
        return {}
    found = {
        measure: compare([ours[n][measure] for n in common], [theirs[n][measure] for n in common])
        for measure in measures
    }
    return {name: each if _higher_wins(name) else _turned(each) for name, each in found.items()}


def _higher_wins(measure: str) -> bool:
    convention, _, name = measure.split(".")
    return CONVENTIONS[convention].measures[name]


def _turned(found: Comparison) -> Comparison:
    """Of errors the lower one wins; the difference stays as it is."""
    return replace(found, wins=found.losses, losses=found.wins)


def _calibration(cases: Sequence[CaseScores]) -> dict[str, float]:
    names = list(dict.fromkeys(name for case in cases for name in case.calibration))
    found = {}
    for name in names:
        values = [case.calibration[name] for case in cases if name in case.calibration]
        if all(isinstance(each, float) for each in values) and np.isfinite(values).any():
            found[name] = float(np.nanmean(np.array(values, dtype=float)))
    return found


def title_of(measure: str) -> str:
    """A measure as people read it: "SSIM (fastMRI, foreground)"."""
    convention, region, name = measure.split(".")
    place = "" if region == "whole" else f", {region}"
    return f"{name.upper()} ({CONVENTIONS[convention].title}{place})"


def number(measure: str, value: float) -> str:
    """A value with the digits that mean something."""
    if measure.endswith("psnr"):
        return f"{value:.2f}"
    return f"{value:.2e}" if measure.endswith("nmse") else f"{value:.4f}"


def lines_of(summary: Summary) -> list[str]:
    """What a person reads on the terminal."""
    lines = []
    shown = [name for name in SHOWN if name in summary.measures]
    if shown:
        rows = [
            [method, *[number(name, values[name].mean) for name in shown]]
            for method, values in summary.means.items()
        ]
        lines += table(rows, ["method", *map(title_of, shown)])
        count = max(values[shown[0]].count for values in summary.means.values())
        lines.append(f"means over {count} volumes; intervals are in the report")
    for name, each in summary.withheld.items():
        lines.append(
            f"{name}: error on withheld samples {each.mean:.4f} [{each.low:.4f}, {each.high:.4f}] "
            f"over {each.count} volumes (zero-filled = 1)"
        )
    if "within_2" in summary.calibration:
        share = summary.calibration["within_2"]
        lines.append(f"uncertainty: {share:.1%} of errors within two stated deviations (95 % fits)")
    if summary.factor:
        lines.append(
            f"calibrated: {summary.factor['within_2_after']:.1%} of errors within two deviations "
            "on patients that the factor was not fitted on (least of "
            f"{summary.factor['volumes']} volumes {summary.factor['within_2_after_least']:.1%}); "
            f"stored in {summary.factor['file']}"
        )
    return lines
