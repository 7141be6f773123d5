"""Evaluate: the official numbers from folders of both dialects, and what it refuses."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.data.ecg.challenge_outputs import read_labels
from medssm.fields.ecg.evaluate import EvaluateConfig, evaluate
from tests.support.shared import shared_folder

GOLDENS = Path(__file__).parents[2] / "goldens" / "ecg"


def unpack(name: str, folder: Path, year: int, **changes: Any) -> Path:
    """A golden case as a folder that predict could have written."""
    with zipfile.ZipFile(shared_folder(f"goldens/ecg/{name}.zip")) as packed:
        packed.extractall(folder)
    cases = {
        header.stem: {
            "file": str(header), "codes": list(read_labels(header) or ()) or None,
            "source": "Georgia" if header.stem.startswith("E") else "CPSC",
            "patient": None, "age": 50.0 + index, "sex": "male", "sha256": header.stem, **changes,
        }
        for index, header in enumerate(sorted((folder / "labels").glob("*.hea")))
    }  # fmt: skip
    content = {"field": "ecg", "dialect": year, "cases": cases}
    (folder / "outputs" / "predictions.json").write_text(json.dumps(content))
    return folder / "outputs"


@pytest.mark.parametrize(("name", "year"), [("scorer2021_a", 2021), ("scorer2020_a", 2020)])
@pytest.mark.parametrize("given", [True, False])
def test_the_official_files_come_out(tmp_path: Path, name: str, year: int, given: bool) -> None:
    folder = unpack(name, tmp_path, year)
    references = tmp_path / "labels" if given else None
    report = evaluate(EvaluateConfig(folder, references, draws=5))
    official = (tmp_path / "scores.csv").read_text().split()
    assert (folder / "evaluation" / "scores.csv").read_text().split() == official
    by_class = (folder / "evaluation" / "class_scores.csv").read_text().splitlines()
    stored = (tmp_path / "class_scores.csv").read_text().splitlines()
    # ours joins the codes of a class in another order; the numbers are in the same one
    assert [line.split(",")[1:] for line in by_class[1:]] == [
        line.split(",")[1:] for line in stored[1:]
    ]
    stored_full = json.loads((GOLDENS / f"{name}.json").read_text())
    assert report.scores.challenge == pytest.approx(stored_full["challenge_metric"], abs=1e-12)
    facts = report.facts()
    assert facts["averaged_classes"]["auroc"] == sum(
        value is not None for value in stored_full["auroc_classes"]
    )
    low, high = facts["intervals"]["challenge"]
    assert low < report.scores.challenge < high


def test_labels_in_the_present_spelling_give_the_same(tmp_path: Path) -> None:
    folder = unpack("scorer2021_a", tmp_path, 2021)
    for header in (tmp_path / "labels").glob("*.hea"):
        header.write_text(header.read_text().replace("#Dx", "# Dx"))
    evaluate(EvaluateConfig(folder, tmp_path / "labels", draws=0, export_labels=True))
    scores = (folder / "evaluation" / "scores.csv").read_text().split()
    assert scores == (tmp_path / "scores.csv").read_text().split()
    exported = sorted((folder / "evaluation" / "labels").glob("*.hea"))
    assert len(exported) == 72
    assert any(line.startswith("#Dx: ") for line in exported[0].read_text().splitlines())


def test_without_any_label_it_refuses(tmp_path: Path) -> None:
    folder = unpack("scorer2021_a", tmp_path, 2021, codes=None)
    with pytest.raises(BadDataError, match="none of 72 predicted records has a label"):
        evaluate(EvaluateConfig(folder, draws=0))


def test_records_that_were_learned_from_are_refused_unless_asked_for(tmp_path: Path) -> None:
    folder = unpack("scorer2021_a", tmp_path, 2021, learned_from=True)
    with pytest.raises(BadDataError, match="learned from 72 of 72"):
        evaluate(EvaluateConfig(folder, draws=0))
    report = evaluate(EvaluateConfig(folder, draws=0, allow_learned=True))
    assert any("leakage" in line for line in report.lines())


def test_a_labelled_record_without_a_prediction_is_told(tmp_path: Path) -> None:
    folder = unpack("scorer2021_a", tmp_path, 2021)
    (tmp_path / "labels" / "A9999.hea").write_text("A9999 12 500 5000\n#Dx: 426783006\n")
    report = evaluate(EvaluateConfig(folder, tmp_path / "labels", draws=0))
    assert report.exit_code == 3
    assert report.scored.missing == ("A9999",)


def test_the_same_samples_under_two_names_are_told(tmp_path: Path) -> None:
    folder = unpack("scorer2021_a", tmp_path, 2021, sha256="one")
    assert len(evaluate(EvaluateConfig(folder, draws=0)).scored.twins) == 71


def test_parts_average_only_classes_that_their_source_annotated(tmp_path: Path) -> None:
    folder = unpack("scorer2021_a", tmp_path, 2021)
    report = evaluate(EvaluateConfig(folder, draws=3))
    sources = {row.name: row.numbers for row in report.sources}
    assert set(sources) == {"CPSC", "Georgia"}
    assert sources["CPSC"]["auroc_classes"] <= 6
    assert sum(each["records"] for each in sources.values()) == 72
    text = (folder / "evaluation" / "per_source.csv").read_text()
    assert text.startswith("name,records,auroc")


def test_two_folders_are_compared_on_common_records(tmp_path: Path) -> None:
    folder = unpack("scorer2021_a", tmp_path, 2021)
    report = evaluate(EvaluateConfig(folder, against=folder, draws=5))
    for value, low, high in report.differences.values():
        assert value == pytest.approx(0, abs=1e-12)
        assert low == pytest.approx(high, abs=1e-12)
    empty = tmp_path / "other"
    empty.mkdir()
    content = json.loads((folder / "predictions.json").read_text())
    content["cases"] = {"B1": {**content["cases"]["A0001"], "file": "B1.hea"}}
    (empty / "predictions.json").write_text(json.dumps(content))
    (empty / "B1.csv").write_bytes((folder / "A0001.csv").read_bytes())
    with pytest.raises(UsageError, match="no record in common"):
        evaluate(EvaluateConfig(folder, against=empty, draws=0))
