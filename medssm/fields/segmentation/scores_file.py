"""Scores as files: summary.json with nnU-Net's keys and ours, and a row a case and label as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medssm.data.labels import Labels
from medssm.fields.segmentation.scoring import CaseScore
from medssm.metrics import METRICS
from medssm.metrics.masks import EMPTY_MASK_POLICY

if TYPE_CHECKING:
    from medssm.fields.segmentation.evaluate import EvaluateReport

_VERDICTS = ("present", "both_empty", "miss", "false")
_NNUNET_POLICY = "Dice and IoU are left out of the means where both masks are empty."


def summary(report: "EvaluateReport") -> dict[str, Any]:
    """nnU-Net's summary.json, with our measures, intervals and definitions beside its own keys."""
    labels = report.labels
    key = {name: _nnunet_key(labels, name) for name in labels.foreground}
    facts = report.facts()
    return {
        "foreground_mean": {name: each.mean for name, each in report.overall.items()},
        "mean": {
            key[label]: {name: each.mean for name, each in found.items()}
            for label, found in report.per_label.items()
        },
        "metric_per_case": [_case(score, key) for score in report.cases],
        "labels": {value: name for name, value in key.items()},
        "intervals": {"mean": facts["mean"], "labels": facts["labels"]},
        "verdicts": count_verdicts(labels.foreground, report.cases),
        "nnunet_means": _nnunet_means(report.cases, key),
        "comparison": facts["comparison"],
        "as_published": facts["as_published"],
        "missing": list(report.missing),
        "failed": dict(report.failed),
        "tolerance_mm": report.tolerance_mm,
        "empty_masks": EMPTY_MASK_POLICY,
        "definitions": {
            metric.key: metric.definition
            for metric in [METRICS.load(name) for name in METRICS]
            if metric.key in report.overall
        },
    }


def count_verdicts(names: Sequence[str], scores: Sequence[CaseScore]) -> dict[str, dict[str, int]]:
    """How often each label was there, missed, invented, or absent on both sides."""
    return {
        name: {
            verdict: sum(score.labels[name].verdict == verdict for score in scores)
            for verdict in _VERDICTS
        }
        for name in names
    }


def scores_csv(scores: Sequence[CaseScore], keys: Sequence[str]) -> str:
    """A row for each case and label."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "label", "verdict", *keys])
    for score in scores:
        for label, each in score.labels.items():
            row = [f"{each.values[key]:.6g}" for key in keys]
            writer.writerow([score.case, label, each.verdict, *row])
    return text.getvalue()


def _case(score: CaseScore, key: Mapping[str, str]) -> dict[str, Any]:
    return {
        "case": score.case,
        "metrics": {
            key[name]: {**each.values, **each.counts, "verdict": each.verdict}
            for name, each in score.labels.items()
        },
        "prediction_file": str(score.prediction),
        "reference_file": str(score.reference),
    }


def _nnunet_means(scores: Sequence[CaseScore], key: Mapping[str, str]) -> dict[str, Any]:
    """The means as nnU-Net takes them, to lay its own summary.json beside ours."""
    means: dict[str, dict[str, float | None]] = {}
    for name, value in key.items():
        held = [s.labels[name] for s in scores if s.labels[name].verdict != "both_empty"]
        means[value] = {
            measure: float(np.mean([each.values[measure] for each in held])) if held else None
            for measure in ("Dice", "IoU")
        }
    foreground: dict[str, float | None] = {}
    for measure in ("Dice", "IoU"):
        known = [found for each in means.values() if (found := each[measure]) is not None]
        foreground[measure] = float(np.mean(known)) if known else None
    return {"mean": means, "foreground_mean": foreground, "policy": _NNUNET_POLICY}


def _nnunet_key(labels: Labels, name: str) -> str:
    members = labels.members(name)
    return str(members[0]) if len(members) == 1 else str(members)
