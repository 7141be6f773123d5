"""The stages on synthetic features: classes and survival, from import to report."""

import csv
import json

import h5py
import numpy as np
import pytest

from medssm.cli.main import main
from medssm.core.errors import UsageError
from medssm.data.bags import write_bag
from medssm.fields.pathology.story import train_config
from tests.support.bags import FACTS, WIDTH, grid, make_study

SMALL = (
    "network.width=16", "network.depth=1", "network.attention_width=8", "planner.folds=3",
    "planner.validation=false", "trainer.max_epochs=25", "batch_size=4", "optimizer.lr=0.005",
    "trainer.accelerator=cpu",
)  # fmt: skip


def _run(capsys, *words):
    code = main([*map(str, words), "--json", "-q"])
    spoken = capsys.readouterr().out
    return code, (json.loads(spoken) if spoken.strip() else {})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A trained study: its home and the model folder."""
    folder = tmp_path_factory.mktemp("pathology")
    make_study(folder / "source")
    home = folder / "home"
    name = "Dataset701_Bags"
    assert main(["import", "features", str(folder / "source"), "--name", name,
                 "--home", str(home), "-q"]) == 0  # fmt: skip
    assert main(["train", name, "--home", str(home), "-q", *SMALL, "order=column"]) == 0
    return folder, home, home / "results" / name / "mamba_mil"


def test_a_study_is_learnt_and_its_model_says_what_it_is(study):
    _, _, model = study
    content = json.loads((model / "model.json").read_text())
    assert (content["order"], content["width"], content["encoder"]) == ("column", WIDTH, "test")
    scores = json.loads((model / "cross_validation.json").read_text())
    assert scores["measures"]["auc"]["pooled"] > 0.75
    assert scores["bags"] == 24
    rows = list(csv.DictReader((model / "fold_0" / "test.csv").open()))
    assert {"bag", "predicted", "p_normal", "p_tumour", "label"} <= set(rows[0])


def test_the_same_command_again_trains_nothing(study):
    _, home, model = study
    before = (model / "fold_0" / "metrics.csv").read_bytes()
    assert main(["train", "701", "--home", str(home), "-q", *SMALL, "order=column"]) == 0
    assert (model / "fold_0" / "metrics.csv").read_bytes() == before
    assert json.loads((model / "fold_0" / "status.json").read_text())["step"] == 100


def test_test_bags_are_answered_by_the_fold_that_did_not_see_them(study, capsys):
    folder, home, model = study
    output = folder / "test_predictions"
    code, _ = _run(capsys, "predict", model, "-o", output, "cases=test", "heatmaps=false")
    assert code == 0
    rows = {row["bag"]: row for row in csv.DictReader((output / "predictions.csv").open())}
    assert len(rows) == 24
    plan = json.loads((model / "plan.json").read_text())
    for fold, split in enumerate(plan["splits"]):
        assert {rows[name]["fold"] for name in split["test"]} == {str(fold)}
    code, _ = _run(capsys, "evaluate", output, "--home", home)
    assert code == 0
    trained = json.loads((model / "cross_validation.json").read_text())
    told = json.loads((output / "evaluation" / "scores.json").read_text())
    assert told["measures"]["accuracy"]["pooled"] == trained["measures"]["accuracy"]["pooled"]
    assert (output / "evaluation" / "report.html").is_file()


def test_new_bags_are_answered_and_bad_ones_cost_only_themselves(study, capsys):
    folder, _, model = study
    source, output = folder / "new", folder / "new_predictions"
    make_study(source, 4, seed=9)
    write_bag(source / "empty.h5", np.zeros((0, WIDTH)), np.zeros((0, 2)), FACTS)
    write_bag(source / "wide.h5", np.ones((3, WIDTH + 1)), grid(3), FACTS)
    write_bag(source / "nan.h5", np.full((3, WIDTH), np.nan), grid(3), FACTS)
    write_bag(source / "other.h5", np.ones((3, WIDTH)), grid(3), {**FACTS, "encoder": "else"})
    (source / "cut.h5").write_bytes((source / "slide_00.h5").read_bytes()[:700])
    words = ("predict", model, "-i", source, "-o", output, f"table={source / 'labels.csv'}")
    code, _ = _run(capsys, *words)
    assert code == 3
    rows = {row["bag"]: row for row in csv.DictReader((output / "predictions.csv").open())}
    assert {name: row["status"] for name, row in rows.items() if "slide" not in name} == {
        "empty": "no_instances", "wide": "failed", "nan": "failed", "other": "failed",
        "cut": "failed",
    }  # fmt: skip
    assert rows["empty"]["p_tumour"] == ""
    assert [rows[f"slide_0{i}"]["status"] for i in range(4)] == ["done"] * 4
    failed = json.loads((output / "predictions.json").read_text())["failed"]
    assert "expected 6" in failed["wide"]
    assert "encoder" in failed["other"]
    before = (output / "attention" / "slide_00.h5").stat().st_mtime_ns
    assert _run(capsys, *words)[0] == 3
    assert (output / "attention" / "slide_00.h5").stat().st_mtime_ns == before


def test_attention_lies_in_the_order_of_the_file_and_is_drawn(study, capsys):
    folder, _, model = study
    source, output = folder / "one", folder / "one_predictions"
    make_study(source, 2, seed=5)
    assert _run(capsys, "predict", model, "-i", source, "-o", output)[0] == 0
    with h5py.File(output / "attention" / "slide_01.h5") as content:
        attention, coords = content["attention"][:], content["coords"][:]
        assert content.attrs["encoder"] == "test"
    with h5py.File(source / "slide_01.h5") as content:
        assert (content["coords"][:] == coords).all()
    assert attention.sum() == pytest.approx(1, abs=1e-5)
    rows = list(csv.DictReader((output / "top_tiles" / "slide_01.csv").open()))
    best = int(attention[0].argmax())
    assert (int(rows[0]["x"]), int(rows[0]["y"])) == tuple(coords[best])
    assert (output / "heatmaps" / "slide_01.png").is_file()
    assert (output / "qupath" / "slide_01.geojson").is_file()


def test_another_order_of_tiles_is_refused_where_the_files_decide(study, capsys, tmp_path):
    _, home, _ = study
    words = ("train", "701", "--home", home, *SMALL, "fold=0", "run=by_file",
             "trainer.max_epochs=1")  # fmt: skip
    assert _run(capsys, *words)[0] == 0
    model = home / "results" / "Dataset701_Bags" / "by_file"
    write_bag(tmp_path / "in" / "a.h5", np.ones((5, WIDTH)), grid(5), {**FACTS, "order": "column"})
    words = ("predict", model, "-i", tmp_path / "in", "-o", tmp_path / "out")
    assert _run(capsys, *words)[0] == 3
    problem = json.loads((tmp_path / "out" / "predictions.json").read_text())["failed"]["a"]
    assert "check_order=false" in problem
    assert _run(capsys, *words, "check_order=false")[0] == 0


def _survival(tmp_path, capsys, loss):
    make_study(tmp_path / "source", 36, survival=True, per_patient=2)
    home, name = tmp_path / "home", "Dataset702_Survival"
    assert _run(capsys, "import", "features", tmp_path / "source", "--name", name,
                "--home", home)[0] == 0  # fmt: skip
    words = ("train", name, "--home", home, "network=abmil", "network.widths=[16]",
             "planner.folds=3", "trainer.max_epochs=15", "optimizer.lr=0.01",
             "trainer.accelerator=cpu", f"objective.name={loss}",
             f"batch_size={12 if loss == 'cox' else 4}")  # fmt: skip
    assert _run(capsys, *words)[0] == 0
    model = home / "results" / name / "abmil"
    return model, json.loads((model / "cross_validation.json").read_text())


@pytest.mark.parametrize("loss", ["nll", "cox"])
def test_survival_is_learnt_from_patients_with_several_slides(tmp_path, capsys, loss):
    model, scores = _survival(tmp_path, capsys, loss)
    assert scores["measures"]["c_index"]["mean"] > 0.6
    assert _run(capsys, "predict", model, "-o", tmp_path / "out", "cases=test",
                "heatmaps=false")[0] == 0  # fmt: skip
    assert _run(capsys, "evaluate", tmp_path / "out")[0] == 0
    told = json.loads((tmp_path / "out" / "evaluation" / "scores.json").read_text())
    assert told["risk_groups"]["high"] + told["risk_groups"]["low"] == 18
    assert (tmp_path / "out" / "evaluation" / "kaplan_meier.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective.name=cox"], "batch"),
        (["trainer.steps_per_epoch=5"], "bags_per_epoch"),
        (["order=diagonal"], "order"),
        (["netwrok.width=5"], "did you mean"),
        (["network=null"], "needs a network"),
    ],
)
def test_a_slip_is_answered_before_anything_is_done(words, message):
    with pytest.raises(UsageError, match=message):
        train_config(words, {"num_channels": 4, "num_outputs": 2}, None)
