"""The story by our stages on a handful of synthetic records: train, predict, evaluate, again."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.data.ecg.synthetic import SyntheticShape, make_synthetic_records
from medssm.fields.ecg.evaluate import EvaluateConfig, evaluate
from medssm.fields.ecg.model_folder import open_model
from medssm.fields.ecg.outputs import read_predictions
from medssm.fields.ecg.predict import PredictConfig, predict
from medssm.fields.ecg.recordings import open_recording
from medssm.fields.ecg.saliency import saliency_of
from medssm.fields.ecg.stages import FIELD
from medssm.fields.ecg.story import train_config
from medssm.fields.ecg.windows import WindowPlan
from medssm.runs.field import EvaluateRequest, PredictRequest, StudyRequest

SMALL = (
    "network.width=16", "network.depth=1", "network.stem_widths=[8,8,16]", "batch_size=8",
    "trainer.max_epochs=2", "trainer.threads=1", "planner.folds=4", "planner.task=challenge2021",
    "planner.workers=1",
)  # fmt: skip
SHAPE = SyntheticShape(seconds=10.0, rate_hz=100.0)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ecg")
    make_synthetic_records(folder / "train", 32, 0, "section11", SHAPE)
    make_synthetic_records(folder / "unseen", 10, 1, "section11", SHAPE)
    return folder


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    answer = FIELD.train(StudyRequest(str(home / "train"), home, SMALL))
    return Path(answer.facts["model"])


@pytest.fixture(scope="module")
def predictions(home: Path, model: Path) -> Path:
    answer = FIELD.predict(
        PredictRequest(model, home / "unseen", home / "out", home, ("pages=none",))
    )
    assert answer.exit_code == 0
    assert len(answer.facts["done"]) == 10
    return home / "out"


def test_a_model_folder_says_what_a_prediction_needs(model: Path) -> None:
    content = read_json(model / "model.json")
    assert content["field"] == "ecg"
    calibration = read_json(model / "fold_0" / "calibration.json")
    assert len(calibration["thresholds"]) == len(read_json(model / "plan.json")["classes"]) == 26
    assert (
        calibration["held_back"]["challenge_tuned"] >= calibration["held_back"]["challenge_at_half"]
    )
    rows = list(csv.reader((model / "fold_0" / "validation.csv").open()))
    assert len(rows) == 1 + calibration["held_back"]["records"]
    assert read_json(model / "fold_0" / "status.json")["state"] == "complete"


def test_the_same_seed_learns_the_same(home: Path, model: Path) -> None:
    answer = FIELD.train(StudyRequest(str(home / "train"), home, (*SMALL, "run=again")))
    again = Path(answer.facts["model"])
    for name in ("weights.safetensors", "validation.csv", "calibration.json"):
        assert (again / "fold_0" / name).read_bytes() == (model / "fold_0" / name).read_bytes()


def test_every_table_tells_of_every_record(predictions: Path) -> None:
    summary = read_json(predictions / "summary.json")
    assert len(summary) == 10
    rows = list(csv.DictReader((predictions / "summary.csv").open()))
    assert len(rows) == 260
    for row in rows[:30]:
        assert (float(row["probability"]) >= float(row["threshold"]) - 1e-6) == bool(
            int(row["decided"])
        )
    assert len(list(predictions.glob("SYN*.csv"))) == 10


def test_what_is_there_and_fits_is_kept(home: Path, model: Path, predictions: Path) -> None:
    config = PredictConfig(model, predictions, home / "unseen", pages="none")
    assert predict(config).done == ()
    one = sorted(predictions.glob("SYN*.csv"))[0]
    before = one.read_text().split()
    one.unlink()
    assert predict(config).done == (one.stem,)
    again = one.read_text().split()
    assert again[:3] == before[:3]
    # another batch rounds otherwise
    numbers = [np.array(each[3].split(","), float) for each in (again, before)]
    np.testing.assert_allclose(*numbers, rtol=1e-5)


def test_evaluate_needs_no_references_for_labelled_records(home: Path, predictions: Path) -> None:
    with_labels = FIELD.evaluate(
        EvaluateRequest(predictions, home / "unseen", home / "e1", None, home, ("draws=3",))
    )
    without = FIELD.evaluate(
        EvaluateRequest(predictions, None, home / "e2", None, home, ("draws=3",))
    )
    assert with_labels.facts["scores"] == without.facts["scores"]
    assert (home / "e1" / "report.html").is_file()


def test_records_that_were_learned_from_are_known_by_their_samples(home: Path, model: Path) -> None:
    copy = home / "renamed"
    source = sorted((home / "train").glob("*.hea"))[0]
    copy.mkdir()
    text = source.read_text().replace(source.stem, "X0001")
    (copy / "X0001.hea").write_text(text)
    shutil.copy(source.with_suffix(".mat"), copy / "X0001.mat")
    output = home / "renamed_out"
    predict(PredictConfig(model, output, copy, pages="none"))
    assert read_predictions(output)["cases"]["X0001"]["learned_from"] is True
    with pytest.raises(BadDataError, match="learned from 1 of 1"):
        evaluate(EvaluateConfig(output, draws=0))


def test_a_broken_file_has_a_row_and_the_others_are_predicted(
    home: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "unseen", tmp_path / "mixed")
    broken = sorted((tmp_path / "mixed").glob("*.mat"))[:2]
    broken[0].write_bytes(b"")
    broken[1].write_bytes(broken[1].read_bytes()[:500])
    report = predict(PredictConfig(model, tmp_path / "out", tmp_path / "mixed", pages="none"))
    assert report.exit_code == 3
    assert len(report.done) == 8
    assert set(report.failed) == {each.stem for each in broken}
    rows = list(csv.DictReader((tmp_path / "out" / "findings.csv").open()))
    assert {row["case"] for row in rows if row["severity"] == "error"} == set(report.failed)
    with pytest.raises(BadDataError, match="none of 1 files"):
        predict(PredictConfig(model, tmp_path / "none", broken[0].with_suffix(".hea")))


def test_what_a_fold_held_back_is_predicted_without_naming_files(home: Path, model: Path) -> None:
    output = home / "held"
    report = predict(PredictConfig(model, output, cases="validation", pages="none"))
    rows = list(csv.reader((model / "fold_0" / "validation.csv").open()))[1:]
    assert set(report.done) == {row[0] for row in rows}
    case = read_predictions(output)["cases"][rows[0][0]]
    stored = np.array(rows[0][1:], float)
    np.testing.assert_allclose(case["probabilities"], stored, rtol=2e-4, atol=1e-6)
    with pytest.raises(UsageError, match="part=test"):
        predict(PredictConfig(model, output, cases="validation", part="test"))


def test_a_long_record_is_read_in_spans_with_the_same_answer(
    model: Path, tmp_path: Path, monkeypatch
) -> None:
    make_synthetic_records(tmp_path / "long", 1, 5, "section11", SyntheticShape(95.0, 100.0))
    config = PredictConfig(model, tmp_path / "whole", tmp_path / "long", windows=0, pages="none")
    predict(config)
    monkeypatch.setattr("medssm.fields.ecg.recordings.LONG_S", 30.0)
    monkeypatch.setattr("medssm.fields.ecg.recordings._SPAN_S", 25.0)
    predict(PredictConfig(model, tmp_path / "spans", tmp_path / "long", windows=0, pages="none"))
    whole, spans = (read_predictions(tmp_path / each)["cases"] for each in ("whole", "spans"))
    (name,) = whole
    # a span has its own median, and less to filter beyond its ends
    np.testing.assert_allclose(
        spans[name]["probabilities"], whole[name]["probabilities"], atol=0.02
    )
    rows = list(csv.reader((tmp_path / "spans" / f"{name}.windows.csv").open()))
    assert len(rows) == 1 + 18
    assert float(rows[-1][0]) == pytest.approx(85.0)


@pytest.mark.parametrize("method", ["gradient", "integrated"])
def test_saliency_has_the_shape_of_the_window_and_is_zero_on_absent_leads(
    home: Path, model: Path, method: str
) -> None:
    import torch

    trained = open_model(model)
    reader = trained.reader(torch.device("cpu"))
    recording = open_recording(sorted((home / "unseen").glob("*.hea"))[0], trained.plan, "")
    signal = recording.prepared().copy()
    signal[4] = 0
    found = saliency_of(
        reader, signal, recording.about, WindowPlan(trained.plan.length, most=1),
        np.zeros(26, bool), method,
    )  # fmt: skip
    assert found is not None
    assert found.shape == (12, trained.plan.length)
    assert 0 <= found.min() < found.max() <= 1
    assert not found[4].any()


def test_another_run_in_the_same_folder_is_refused(home: Path, model: Path) -> None:
    with pytest.raises(UsageError, match="other settings"):
        FIELD.train(StudyRequest(str(home / "train"), home, (*SMALL, "optimizer.lr=0.01")))


def test_slips_are_answered_before_any_work() -> None:
    facts = {"num_leads": 12, "num_classes": 26, "length": 1000}
    with pytest.raises(UsageError, match="mixup"):
        train_config(("augment.mixpu=0.3",), facts)
    with pytest.raises(UsageError, match="ecg_vim_tiny"):
        train_config(("network=ecg_vim_tny",), facts)
    config = train_config((), facts, records=65)
    assert config.trainer.steps_per_epoch == 3
    assert config.run_name == "ecg_vim_tiny"
    assert train_config(("mixer@network.mixer=mamba",), facts).run_name == "ecg_vim_tiny_mamba"


def test_the_dialect_of_2020_is_scored_by_its_rules(home: Path, model: Path) -> None:
    output = home / "out2020"
    predict(PredictConfig(model, output, home / "unseen", dialect=2020, pages="none"))
    report = evaluate(EvaluateConfig(output, draws=0))
    assert report.scored.year == 2020
    assert "Fbeta-measure" in (output / "evaluation" / "scores.csv").read_text()
    assert json.loads((output / "evaluation" / "evaluation.json").read_text())["year"] == 2020
