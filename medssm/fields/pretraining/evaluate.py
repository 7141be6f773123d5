"""Evaluate: masked loss against the mean-prediction baseline, and whether embeddings tell apart."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, write_json
from medssm.core.signature import make
from medssm.fields.pretraining.model_folder import FIELD
from medssm.fields.pretraining.predict import PREDICTIONS
from medssm.metrics.statistics import Interval, bootstrap, compare
from medssm.runs.answer import Answer, table
from medssm.runs.compose import parse_values
from medssm.runs.field import EvaluateRequest

SUMMARY, REPORT = "summary.json", "report.html"


@dataclass(frozen=True)
class EvaluateConfig:
    """What a user may say about an evaluation.

    Args:
        pictures: Reconstructions shown: the worst, the middle and the best ones.
        seed: Of the bootstrap.
    """

    pictures: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pictures < 0:
            raise UsageError(f"pictures={self.pictures}: expected 0 or more.")


@dataclass(frozen=True)
class Scores:
    """What a folder of predictions says.

    Args:
        content: Its predictions.json.
        ratio: Masked loss over the baseline, a number a volume.
        loss: Masked loss.
        skipped: Share of constant cells.
        throughput: Crops a second, masked and dense pass together.
        sanity: Figures of the embeddings that need no label.
    """

    content: dict[str, Any]
    ratio: Interval
    loss: Interval
    skipped: Interval
    throughput: float
    sanity: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """Plain data, as summary.json holds it."""
        told = {name: vars(getattr(self, name)) for name in ("ratio", "loss", "skipped")}
        return {
            **told,
            "baseline": 1.0,
            "crops_per_second": self.throughput,
            "embeddings": self.sanity,
            "volumes": len(self.content["cases"]),
            "failed": dict(self.content.get("failed", {})),
        }


def score(folder: Path, seed: int = 0) -> Scores:
    """Read what predict wrote.

    Raises:
        BadDataError: It is no folder of such predictions, or an empty one.
    """
    content = read_json(folder / PREDICTIONS)
    if content.get("field") != FIELD:
        raise BadDataError(
            f"{folder}: predictions of the field {content.get('field')!r}, expected {FIELD!r}."
        )
    cases = content["cases"]
    if not cases:
        raise BadDataError(f"{folder}: no volume was predicted; predict again.")
    seconds = sum(case["seconds"] for case in cases.values())
    return Scores(
        content,
        bootstrap([_number(case["ratio"]) for case in cases.values()], seed),
        bootstrap([_number(case["masked_loss"]) for case in cases.values()], seed),
        bootstrap([case["skipped_cells"] for case in cases.values()], seed),
        sum(case["crops"] for case in cases.values()) / max(seconds, 1e-9),
        sanity_figures(np.array([case["embedding"] for case in cases.values()])),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def sanity_figures(embeddings: np.ndarray) -> dict[str, float]:
    """Whether embeddings have collapsed, without a probe or a label.

    Returns:
        ``spread``: deviation between volumes over the size of a vector, 0 where all are one
        point; ``cosine``: mean cosine of two different volumes; ``effective_rank``: exponent of
        the entropy of the singular values' shares, 1 where all lie on a line.

    Shape:
        embeddings: (N, C).

    Source:
        Roy and Vetterli, "The effective rank", 2007.
    """
    if len(embeddings) < 2:
        return {}
    size = float(np.linalg.norm(embeddings, axis=1).mean())
    centred = embeddings - embeddings.mean(axis=0)
    spread = float(np.sqrt((centred**2).sum(axis=1).mean())) / max(size, 1e-12)
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    count = len(unit)
    cosine = float((unit.sum(axis=0) ** 2).sum() - count) / (count * (count - 1))
    shares = np.linalg.svd(centred, compute_uv=False)
    shares = shares[shares > 0] / max(shares.sum(), 1e-12)
    rank = float(np.exp(-(shares * np.log(shares)).sum()))
    return {"spread": spread, "cosine": cosine, "effective_rank": rank}


def evaluate_pretraining(request: EvaluateRequest) -> Answer:
    """Score a folder of predictions and write summary.json and report.html.

    Raises:
        BadDataError: A folder holds no such predictions, or two have no volume in common.
        UsageError: References were given; the volumes are their own.
    """
    from medssm.fields.pretraining.report import write_report

    if request.references is not None:
        raise UsageError(
            "a pre-training has no references, its volumes are their own; leave -r out."
        )
    config: EvaluateConfig = make(EvaluateConfig, parse_values(request.overrides), "evaluate")
    scores = score(request.predictions, config.seed)
    facts = scores.facts()
    if request.against is not None:
        facts["against"] = _against(scores, request.against, config.seed)
    output = request.output or request.predictions
    write_json(output / SUMMARY, facts)
    write_report(scores, facts, request.predictions, output / REPORT, config)
    lines = table(_rows(facts), ("figure", "mean", "95 % interval"))
    code = 3 if facts["failed"] else 0
    return Answer(facts, lines, [output / REPORT, output / SUMMARY], (), code)


def _against(scores: Scores, other: Path, seed: int) -> dict[str, Any]:
    theirs = score(other, seed).content["cases"]
    shared = sorted(scores.content["cases"].keys() & theirs.keys())
    if not shared:
        raise BadDataError(f"{other}: has no volume in common with these predictions.")
    first = [_number(scores.content["cases"][name]["ratio"]) for name in shared]
    second = [_number(theirs[name]["ratio"]) for name in shared]
    found = compare(first, second, seed)
    return {
        "predictions": str(other),
        "volumes": len(shared),
        "ratio_difference": vars(found.difference),
        "p_value": found.p_value,
        "higher": found.wins,
        "lower": found.losses,
    }


def _rows(facts: dict[str, Any]) -> list[list[str]]:
    names = {"ratio": "masked loss / mean prediction", "loss": "masked loss",
             "skipped": "constant cells left out"}  # fmt: skip
    rows = [
        [
            text,
            f"{facts[name]['mean']:.4f}",
            f"{facts[name]['low']:.4f} to {facts[name]['high']:.4f}",
        ]
        for name, text in names.items()
    ]
    rows.append(["crops a second", f"{facts['crops_per_second']:.2f}", ""])
    rows += [
        [f"embeddings: {name}", f"{value:.4f}", ""] for name, value in facts["embeddings"].items()
    ]
    if "against" in facts:
        difference = facts["against"]["ratio_difference"]
        span = f"{difference['low']:.4f} to {difference['high']:.4f}"
        rows.append(["ratio less the other's", f"{difference['mean']:.4f}", span])
    return rows
