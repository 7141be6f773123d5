"""The scorer cases: labels and outputs of a zip, scored by ours, against the official numbers."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from medssm.data.ecg.challenge_outputs import read_challenge_output, read_labels
from medssm.data.ecg.classes import challenge_classes, challenge_weights, targets
from medssm.metrics.challenge import ChallengeScores, challenge_scores
from tests.goldens.harness import Verdict
from tests.support.shared import shared_places

ATOL = 1e-9
SCALARS = {"auroc", "auprc", "f_measure"}


def packed_records(file: Path) -> Path | None:
    """The records of a case: beside it, or in the shared folder, since they do not travel."""
    places = [file.with_suffix(".zip")]
    places += [base / "goldens" / "ecg" / f"{file.stem}.zip" for base in shared_places()]
    return next((place for place in places if place.is_file()), None)


def run_scorer(file: Path, case: Mapping[str, Any]) -> Verdict:
    """Score the folders of a case and hold every stored number against ours."""
    year = 2020 if "f_beta" in case or "2020" in case["scorer"] else 2021
    records = packed_records(file)
    if records is None:
        return Verdict(file.stem, float("nan"), f"{ATOL:g}", False, "its records are not here")
    with TemporaryDirectory() as name:
        with zipfile.ZipFile(records) as packed:
            packed.extractall(name)
        folder = Path(name)
        scores = score_folders(folder / "labels", folder / "outputs", year)
        prints = {
            "scores.csv": scores.official_text(),
            "class_scores.csv": scores.official_class_text(case["classes"]),
        }
        other = [
            each
            for each, text in prints.items()
            if (folder / each).is_file() and (folder / each).read_text().strip() != text
        ]
    off = _differences(scores, case, year)
    note = f"{' and '.join(other)} printed otherwise" if other else ""
    return Verdict(file.stem, max(off), f"{ATOL:g}", max(off) <= ATOL and not other, note)


def score_folders(labels: Path, outputs: Path, year: Any) -> ChallengeScores:
    """Every .hea of a folder against the .csv of the same name."""
    classes = challenge_classes(year)
    headers = sorted(labels.glob("*.hea"))
    truth = np.array([targets(read_labels(each) or (), classes) for each in headers]) > 0
    answers = [
        read_challenge_output(outputs / f"{each.stem}.csv", classes, year) for each in headers
    ]
    decided, probabilities = map(np.array, zip(*answers, strict=True))
    sinus = [each.code for each in classes].index("426783006")
    return challenge_scores(truth, decided, probabilities, challenge_weights(year), sinus, year)


def _differences(scores: ChallengeScores, case: Mapping[str, Any], year: int) -> list[float]:
    ours = [frozenset(each.code.split("|")) for each in challenge_classes(year)]
    order = [
        next(index for index, codes in enumerate(ours) if codes & set(name.split("|")))
        for name in case["classes"]
    ]
    found = {
        "auroc": scores.macro("auroc"), "auprc": scores.macro("auprc"),
        "f_measure": scores.macro("f_measure"), "accuracy": scores.accuracy,
        "challenge_metric": scores.challenge, "f_beta": scores.f_beta, "g_beta": scores.g_beta,
    }  # fmt: skip
    off = [abs(value - case[name]) for name, value in found.items() if name in case]
    for name in SCALARS:
        stored = np.array([np.nan if v is None else v for v in case[f"{name}_classes"]], float)
        mine = getattr(scores, name)[order]
        same = np.isnan(stored) == np.isnan(mine)
        off.append(float(np.nanmax(np.abs(stored - mine))) if same.all() else float("inf"))
    return off
