"""The page of an evaluation: numbers, tables, the reliability diagram and threshold curves."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medssm.fields.ecg.strata import Row
from medssm.metrics.challenge import f_measures
from medssm.reports.html import Page, Picture, Table, write_page
from medssm.reports.overlays import picture_address
from medssm.runs.manifest_of_run import versions

if TYPE_CHECKING:
    from medssm.fields.ecg.evaluate import EvaluateReport

_DEFINITIONS = (
    ("AUROC", "area under sensitivity against 1 - specificity; ties count half"),
    ("AUPRC", "average precision: precision times the step of sensitivity, summed"),
    ("F-measure", "2TP / (2TP + FP + FN)"),
    ("Accuracy", "share of the records whose decisions are all right"),
    ("Challenge metric", "reward of the decisions: labels give 1, sinus rhythm everywhere 0"),
    ("calibration error", "|said - true| over ten bins of probability, weighted by their answers"),
)
_CUTS = np.linspace(0.02, 0.98, 49)


def write_report(report: "EvaluateReport", folder: Path) -> None:
    """Write report.html, whole in itself."""
    scored = report.scored
    figures = []
    for name, value in report.scores.named().items():
        low, high = report.intervals.get(_KEYS.get(name, ""), (math.nan, math.nan))
        spread = f"{low:.3f} to {high:.3f} (95 % over patients)" if math.isfinite(low) else ""
        figures.append((name, f"{value:.3f}", spread))
    page = Page(
        title="Electrocardiograms: evaluation",
        subtitle=f"{len(scored.names)} records, {len(set(scored.patients))} patients, rules of "
        f"the Challenge {scored.year}",
        figures=figures,
        warnings=_warnings(report),
        tables=[
            _table("By class", report.classes, "among records whose source annotates the class"),
            _table("By source", report.sources, "means over the classes that the source annotates"),
            _table("By sex and age", report.groups, ""),
        ],
        pictures=[
            Picture(picture_address(_reliability(report)), "Reliability", "said against true"),
            Picture(picture_address(_curve(report)), "Thresholds", "one threshold for all classes"),
        ],
        definitions=_DEFINITIONS,
        facts=[("Versions", list(versions().items()))],
        command="medssm evaluate PREDICTIONS -r REFERENCES",
    )
    write_page(page, folder / "report.html")


_KEYS = {
    "AUROC": "auroc", "AUPRC": "auprc", "F-measure": "f_measure", "Accuracy": "accuracy",
    "Challenge metric": "challenge",
}  # fmt: skip


def _warnings(report: "EvaluateReport") -> list[str]:
    scored, scores = report.scored, report.scores
    found = [
        f"AUROC is a mean over {scores.averaged('auroc')} and AUPRC over "
        f"{scores.averaged('auprc')} of {len(scored.classes)} classes; classes without a positive "
        "drop out, so that the means depend on the records.",
        "Not a medical device.",
    ]
    if scored.unlabelled:
        found.append(f"{len(scored.unlabelled)} records have no label and are not scored.")
    if scored.missing:
        found.append(f"{len(scored.missing)} labelled records have no prediction.")
    if scored.learned_from:
        found.append(f"{len(scored.learned_from)} records were learned from: leakage.")
    if scored.twins:
        found.append(f"{len(scored.twins)} records are others under a second name.")
    if "synthetic" in set(scored.sources):
        found.append("Synthetic records are among these: they prove the machinery, no skill.")
    return found


def _table(title: str, rows: Sequence[Row], note: str) -> Table:
    columns = list(dict.fromkeys(name for row in rows for name in row.numbers))
    cells = [
        [row.name, *(_cell(row.numbers.get(name, math.nan)) for name in columns)] for row in rows
    ]
    return Table(title, ["", *(name.replace("_", " ") for name in columns)], cells, note, True)


def _cell(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"


def _reliability(report: "EvaluateReport") -> bytes:
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    bins = report.reliability
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(bins.said, bins.true, marker="o")
    axes.set(xlabel="said", ylabel="true", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"calibration error {bins.error:.3f}")
    return _png(figure)


def _curve(report: "EvaluateReport") -> bytes:
    """Macro F and share of right records over one threshold for all."""
    scored = report.scored
    decided = [scored.probabilities >= cut for cut in _CUTS]
    figure = Figure(figsize=(4.8, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(_CUTS, [np.nanmean(f_measures(scored.truth, each)) for each in decided], label="F")
    right = [(each == scored.truth).all(1).mean() for each in decided]
    axes.plot(_CUTS, right, label="accuracy")
    axes.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
