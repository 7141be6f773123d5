"""Export: a program of torch alone that gives the probabilities of the folds' mean."""

import json

import pytest
import torch

from medssm.cli.main import main
from medssm.fields.pathology.export import MeanOfFolds
from medssm.fields.pathology.model_folder import open_model
from tests.support.bags import WIDTH, make_study


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    make_study(folder / "source")
    home = folder / "home"
    words = (
        "network.width=16", "network.depth=1", "network.attention_width=8", "planner.folds=2",
        "planner.validation=false", "trainer.max_epochs=1", "batch_size=4",
        "trainer.accelerator=cpu",
    )  # fmt: skip
    name = "Dataset702_Bags"
    source = str(folder / "source")
    assert main(["import", "features", source, "--name", name, "--home", str(home), "-q"]) == 0
    assert main(["train", name, "--home", str(home), "-q", *words]) == 0
    return home / "results" / name / "mamba_mil"


def test_a_program_gives_the_mean_of_the_folds_for_any_bag(model, tmp_path):
    file = tmp_path / "bag.pt2"
    assert main(["export", str(model), str(file), "--to", "pt2", "-q"]) == 0
    facts = json.loads((tmp_path / "bag.pt2.json").read_text())
    assert facts["any_number_of_tiles"]
    assert facts["largest_difference"] < 1e-3
    program = torch.export.load(file)
    assert not any("medssm" in str(node.target) for node in program.graph.nodes)
    x = torch.randn(1, WIDTH, 101)
    with torch.no_grad():
        true = MeanOfFolds(open_model(model)).eval()(x)
        torch.testing.assert_close(program.module()(x), true, atol=1e-4, rtol=0)
    assert float(true.sum()) == pytest.approx(1, abs=1e-5)


def test_what_is_there_is_not_written_over_unasked(model, tmp_path, capsys):
    file = tmp_path / "weights.safetensors"
    words = ["export", str(model), str(file), "--to", "safetensors", "-q"]
    assert main(words) == 0
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


def test_another_kind_is_answered_with_those_there_are(model, tmp_path, capsys):
    assert main(["export", str(model), str(tmp_path / "b"), "--to", "nnunet"]) == 2
    assert "pt2, onnx, safetensors" in capsys.readouterr().err
