"""Programs of segmentation models: proven on a case of our own predictor, or refused."""

import pytest

from medssm.core.errors import MedssmError, UsageError
from medssm.core.files import read_json
from medssm.fields.segmentation import export_programs
from medssm.fields.segmentation.export import ExportConfig, export
from medssm.fields.segmentation.export_programs import Programs, ProgramWish
from medssm.fields.segmentation.trained import open_model
from tests.support.model_folder import make_model_folder

CASES = {"pt2": "program.pt2", "torchscript": "program.ts"}


@pytest.fixture(scope="module")
def model(planned):
    return make_model_folder(planned.plan, planned.workspace, (0, 1), run="programs")


@pytest.mark.parametrize("kind", CASES)
def test_a_program_of_two_folds_labels_a_held_back_case_as_we_do(kind, model, tmp_path):
    done = export(ExportConfig(model, tmp_path / "program", kind=kind))
    assert done.written.name == CASES[kind]
    assert done.facts["largest_logit_difference"] <= 1e-3
    assert done.facts["equal_voxels"] >= 0.999
    beside = read_json(tmp_path / f"{CASES[kind]}.json")
    assert beside["case"] == done.facts["case"]
    assert beside["output"]["logits_of"] == ["background", "shell", "core"]


@pytest.mark.slow
def test_a_bundle_holds_both_programs_and_tells_of_their_proof(model, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    done = export(ExportConfig(model, tmp_path / "Blobs", fold=0, programs=True))
    files = {path.name for path in (done.written / "models").iterdir()}
    assert files == {"model.pt", "model.pt2", "model.onnx"}
    text = (done.written / "docs" / "README.md").read_text(encoding="utf-8")
    for kind in ("pt2", "onnx"):
        assert done.facts[f"{kind}_equal_voxels"] >= 0.999
        assert f"{kind} largest logit difference" in text


def test_a_program_that_labels_otherwise_is_not_left_there(model, tmp_path, monkeypatch):
    programs = Programs(open_model(model, [0]), ProgramWish())
    monkeypatch.setattr(export_programs, "open_program", lambda _: lambda x: -programs.network(x))
    with pytest.raises(MedssmError, match="equals our own in"):
        programs.write("pt2", tmp_path / "network.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_scans_is_no_torchscript(tmp_path):
    from medssm.bundle.torchscript import write_torchscript
    from medssm.networks import NETWORKS

    network = NETWORKS.build("lightm_unet", spatial_dims=2, init_filters=8, blocks_down=(1, 1),
                             blocks_up=(1,))  # fmt: skip
    with pytest.raises(UsageError, match="--to pt2"):
        write_torchscript(network, 1, (16, 16), tmp_path / "network.ts")
    assert list(tmp_path.iterdir()) == []


def test_what_one_network_alone_can_be_asks_for_a_fold(model, tmp_path):
    with pytest.raises(UsageError, match=r"fold=N, or --to pt2"):
        export(ExportConfig(model, tmp_path / "Blobs"))
