"""Scores as the papers computed them, beside the proper ones and under names of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from medssm.fields.segmentation.scoring import CaseScore
from medssm.metrics import METRICS
from medssm.metrics.pooled import POOLED_DEFINITION, Confusion, pooled_measures

Convention = Literal["isic", "synapse"]


@dataclass(frozen=True)
class PublishedScores:
    """What a paper would have printed.

    Args:
        convention: Whose way of counting.
        definition: How it differs from the proper measures.
        labels: Label to measure to value.
        mean: Measure to its plain mean over labels.
    """

    convention: Convention
    definition: str
    labels: Mapping[str, Mapping[str, float]]
    mean: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """As data for summary.json."""
        return asdict(self)

    def line(self) -> str:
        """For a person."""
        values = "  ".join(f"{key} {value:.4g}" for key, value in self.mean.items())
        return f"as the papers on {self.convention} count: {values}"


def published_scores(
    convention: Convention | None, labels: Sequence[str], scores: Sequence[CaseScore]
) -> PublishedScores | None:
    """Count the way of some papers; None where nobody asked for it.

    Args:
        convention: "isic" pools the pixels of all images, "synapse" follows TransUNet.
        labels: Names of the foreground.
        scores: Every case, scored with the same convention.
    """
    if convention is None:
        return None
    if convention == "isic":
        definition = POOLED_DEFINITION
        found = {name: _pooled(name, scores) for name in labels}
    else:
        metrics = [METRICS.load(name) for name in METRICS]
        chosen = [metric for metric in metrics if metric.convention == convention]
        definition = " ".join(f"{metric.key}: {metric.definition}" for metric in chosen)
        found = {
            name: {
                metric.key: float(np.mean([s.labels[name].values[metric.key] for s in scores]))
                for metric in chosen
            }
            for name in labels
        }
    keys = next(iter(found.values()))
    mean = {key: float(np.mean([each[key] for each in found.values()])) for key in keys}
    return PublishedScores(convention, definition, found, mean)


def _pooled(name: str, scores: Sequence[CaseScore]) -> Mapping[str, float]:
    total = [
        sum(score.labels[name].counts[count] for score in scores)
        for count in ("TP", "FP", "FN", "TN")
    ]
    return pooled_measures(Confusion(*total))
