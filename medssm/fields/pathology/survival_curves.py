"""Kaplan-Meier curves of patients of high and low risk, and whether they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.fields.pathology.bag_answer import BagAnswer
from medssm.fields.pathology.plan_file import BagEntry


@dataclass(frozen=True)
class RiskGroups:
    """Two groups, parted at the median risk of each fold.

    Args:
        high: Patients above the median.
        low: Patients at or below it.
        p_value: Of the log-rank test; None where a group is empty or nothing happened.
        median_high_months: Time by which half of the high group had the event; None if later.
        median_low_months: The same of the low group.
    """

    high: int
    low: int
    p_value: float | None
    median_high_months: float | None
    median_low_months: float | None

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def line(self) -> str:
        """In one line."""
        p_value = "not tested" if self.p_value is None else f"log-rank p = {self.p_value:.3g}"
        return f"{self.high} patients of high risk, {self.low} of low risk: {p_value}"


def high_risk(answers: Sequence[BagAnswer]) -> np.ndarray:
    """Who is above the median risk of the own fold: networks have scales of their own.

    Shape:
        (N,) booleans.
    """
    risk = np.array([each.risk or 0.0 for each in answers])
    fold = np.array([each.fold for each in answers])
    medians = {each: np.median(risk[fold == each]) for each in set(fold.tolist())}
    return risk > np.array([medians[each] for each in fold.tolist()])


def draw_risk_groups(
    answers: Sequence[BagAnswer], truth: Mapping[str, BagEntry], file: Path
) -> RiskGroups:
    """Draw both groups with their 95 % bands.

    Args:
        answers: One a patient.
        truth: Their times.
        file: The PNG.

    Raises:
        MachineError: lifelines is not installed.

    Source:
        Kaplan and Meier, 1958, by lifelines.
    """
    lifelines: Any = require("lifelines", "pathology")
    statistics: Any = require("lifelines.statistics", "pathology")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    months = np.array([truth[each.name].months or 0.0 for each in answers])
    event = np.array([bool(truth[each.name].event) for each in answers])
    high = high_risk(answers)
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    medians: dict[bool, float | None] = {True: None, False: None}
    for group, label, colour in ((False, "low risk", "#0072B2"), (True, "high risk", "#D55E00")):
        chosen = high == group
        if not chosen.any():
            continue
        fitter = lifelines.KaplanMeierFitter()
        fitter.fit(months[chosen], event[chosen], label=f"{label} ({int(chosen.sum())})")
        fitter.plot_survival_function(ax=axes, color=colour)
        median = float(fitter.median_survival_time_)
        medians[group] = median if np.isfinite(median) else None
    axes.set_xlabel("months")
    axes.set_ylabel("survival")
    axes.set_ylim(0, 1)
    with atomic_path(file) as partial:
        figure.savefig(partial, dpi=110)
    p_value = None
    if event.any() and 0 < high.sum() < len(high):
        tested = statistics.logrank_test(months[high], months[~high], event[high], event[~high])
        p_value = float(tested.p_value)
    return RiskGroups(int(high.sum()), int((~high).sum()), p_value, medians[True], medians[False])
