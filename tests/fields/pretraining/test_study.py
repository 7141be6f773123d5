"""Pre-training on synthetic scans: train, resume, predict, evaluate, hand the encoder over."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medssm.core.errors import BadDataError, UsageError
from medssm.fields.pretraining.archive import import_archive
from medssm.fields.pretraining.crops import crop_starts
from medssm.fields.pretraining.demo import make_scans
from medssm.fields.pretraining.evaluate import evaluate_pretraining, sanity_figures
from medssm.fields.pretraining.export import export_encoder
from medssm.fields.pretraining.model_folder import open_model
from medssm.fields.pretraining.predict import predict_pretraining
from medssm.fields.pretraining.samples import CropSamples, grid_of
from medssm.fields.pretraining.store import open_store
from medssm.fields.pretraining.story import train_config, train_study
from medssm.networks.hybrid_mamba import HybridMamba
from medssm.runs.field import (
    EvaluateRequest,
    ExportRequest,
    ImportRequest,
    PredictRequest,
    StudyRequest,
)
from medssm.runs.workspace import open_workspace
from medssm.training.order import SampleKey
from medssm.training.pretrained import with_pretrained
from medssm.training.warm_start import transfer

WORDS = (
    "preprocess.spacing_mm=null", "preprocess.val_share=0.34", "network=mamba_mim_small",
    "network.decoder_width=16", "network.encoder.widths=[8,8,12]", "crop=[16,24,16]",
    "batch_size=2", "trainer.max_epochs=2", "trainer.steps_per_epoch=2", "trainer.workers=0",
    "trainer.precision=32-true", "trainer.accelerator=cpu", "optimizer.lr=0.01",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def dataset(home: Path) -> str:
    make_scans(home / "scans", 6, seed=3)
    request = ImportRequest("archive", home / "scans", home, "Dataset101_Scans")
    return str(import_archive(request).facts["dataset"])


@pytest.fixture(scope="module")
def model(home: Path, dataset: str) -> Path:
    return train_study(StudyRequest(dataset, home, WORDS))


@pytest.fixture(scope="module")
def predictions(home: Path, model: Path) -> Path:
    output = home / "predictions"
    predict_pretraining(PredictRequest(model, None, output, home, ("cases=all", "device=cpu")))
    return output


def test_a_model_folder_says_what_it_is_and_draws_every_epoch(model: Path) -> None:
    content = json.loads((model / "model.json").read_text())
    assert content["field"] == "pretraining"
    assert content["crop"] == [16, 24, 16]
    drawn = sorted(each.stem for each in (model / "fold_0" / "reconstructions").glob("*.png"))
    # one after each epoch, and one of the last weights
    assert drawn == ["epoch_0000", "epoch_0001", "epoch_0002"]
    told = json.loads((model / "fold_0" / "validation.json").read_text())
    assert told["steps"] == 4
    assert 0 < told["ratio"] < 3
    assert 0 <= told["skipped_cells"] <= 1


def test_the_encoder_is_handed_over_whole(model: Path) -> None:
    network = HybridMamba(**_arguments(model), out_channels=4)
    moved = transfer(network, model)
    weights = load_file(model / "encoder.safetensors")
    assert set(moved.moved.values()) == set(weights)
    assert moved.left == {}
    assert all(name.startswith(("decoder.", "refine.", "head.")) for name in moved.new)
    state = network.state_dict()
    assert all(torch.equal(state[ours], weights[theirs]) for ours, theirs in moved.moved.items())


def _arguments(model: Path) -> dict[str, object]:
    made = with_pretrained({"name": "hybrid_mamba"}, model)
    return {key: value for key, value in made.items() if key != "name"}


def test_an_exported_encoder_is_a_folder_to_start_from(
    home: Path, model: Path, tmp_path: Path
) -> None:
    export_encoder(ExportRequest(model, tmp_path / "out", "safetensors", home))
    first, second = HybridMamba(**_arguments(model)), HybridMamba(**_arguments(model))
    transfer(first, model)
    moved = transfer(second, tmp_path / "out")
    state = first.state_dict()
    assert all(torch.equal(second.state_dict()[key], state[key]) for key in moved.moved)
    with pytest.raises(UsageError, match="--to safetensors"):
        export_encoder(ExportRequest(model, tmp_path / "out", "onnx", home))


def test_another_shape_or_network_is_refused_with_the_remedy(model: Path) -> None:
    with pytest.raises(BadDataError, match=r"encoder\.json"):
        transfer(HybridMamba(**{**_arguments(model), "layers": 1}), model)
    with pytest.raises(UsageError, match="network=hybrid_mamba"):
        with_pretrained({"name": "lightm_unet"}, model)
    with pytest.raises(UsageError, match="they come from the pre-training"):
        with_pretrained({"name": "hybrid_mamba", "layers": 3}, model)


def test_an_interrupted_run_ends_with_the_same_weights(
    home: Path, dataset: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medssm.core.errors import InterruptedRunError
    from medssm.training.course import Course

    plain = Course._reason
    monkeypatch.setattr(
        Course, "_reason", lambda self: "signal" if self.state.step == 3 else plain(self)
    )
    request = StudyRequest(dataset, home, (*WORDS, "run=stopped"))
    with pytest.raises(InterruptedRunError):
        train_study(request)
    monkeypatch.undo()
    again = train_study(request)
    one, other = (load_file(each / "fold_0" / "weights.safetensors") for each in (model, again))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_sample_is_a_function_of_seed_epoch_and_index(home: Path, dataset: str) -> None:
    store = open_store(open_workspace(dataset, home))
    config = train_config(WORDS)
    grid = grid_of(config.crop, (8, 8, 8))
    one, other = (CropSamples(store, store.ids("train"), config, grid) for _ in range(2))
    torch.manual_seed(5)
    first = one[SampleKey(2, 3)]
    other[SampleKey(0, 0)]
    again = other[SampleKey(2, 3)]
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["ids"], again["ids"])
    assert not torch.equal(first["ids"], one[SampleKey(2, 4)]["ids"])
    assert 0 <= float(first["image"].min()) <= float(first["image"].max()) <= 1


def test_an_epoch_visits_every_volume(home: Path, dataset: str) -> None:
    store = open_store(open_workspace(dataset, home))
    names = store.ids("train")
    samples = CropSamples(store, names, train_config(WORDS), (2, 3, 2))
    orders = [samples._order(epoch, 0) for epoch in (0, 1, 2)]
    assert all(sorted(order) == list(range(len(names))) for order in orders)


def test_predictions_hold_embeddings_reconstructions_and_costs(predictions: Path) -> None:
    told = json.loads((predictions / "predictions.json").read_text())
    assert told["field"] == "pretraining"
    stored = np.load(predictions / "embeddings.npz")
    assert list(stored["names"]) == sorted(told["cases"])
    assert stored["embeddings"].shape == (6, 12)
    for name, case in told["cases"].items():
        assert all((predictions / file).is_file() for file in case["outputs"])
        assert case["crops"] >= 1, name


def test_the_same_prediction_again_keeps_what_is_there(
    home: Path, model: Path, predictions: Path
) -> None:
    request = PredictRequest(model, None, predictions, home, ("cases=all", "device=cpu"))
    assert predict_pretraining(request).facts["kept"] == 6
    told = json.loads((predictions / "predictions.json").read_text())
    victim = next(iter(told["cases"].values()))["outputs"][0]
    (predictions / victim).unlink()
    assert predict_pretraining(request).facts["kept"] == 5


def test_a_broken_file_costs_only_itself(home: Path, model: Path, tmp_path: Path) -> None:
    make_scans(tmp_path / "new", 2, seed=9)
    (tmp_path / "new" / "broken.nii.gz").write_bytes(b"no image")
    request = PredictRequest(model, tmp_path / "new", tmp_path / "out", home, ("device=cpu",))
    answer = predict_pretraining(request)
    assert answer.exit_code == 3
    assert list(answer.facts["failed"]) == ["broken"]
    assert answer.facts["done"] == 2


def test_an_evaluation_reports_scores_and_the_use_of_the_archive(
    home: Path, predictions: Path
) -> None:
    answer = evaluate_pretraining(EvaluateRequest(predictions, None, None, predictions, home))
    assert answer.facts["ratio"]["count"] == 6
    assert answer.facts["against"]["ratio_difference"]["mean"] == 0
    page = (predictions / "report.html").read_text()
    assert "volumes used" in page
    assert "masked loss" in page


def test_sanity_figures_see_a_collapse() -> None:
    rng = np.random.default_rng(0)
    spread = sanity_figures(rng.normal(size=(50, 8)))
    collapsed = sanity_figures(np.ones((50, 8)) + 1e-6 * rng.normal(size=(50, 8)))
    assert spread["spread"] > 0.5
    assert spread["effective_rank"] > 6
    assert collapsed["spread"] < 1e-4
    assert collapsed["cosine"] > 0.999


def test_other_settings_do_not_enter_the_folder(home: Path, dataset: str, model: Path) -> None:
    with pytest.raises(UsageError, match="other settings"):
        train_study(StudyRequest(dataset, home, (*WORDS, "mask_ratio=0.5")))


def test_planes_are_learned_as_well(home: Path, dataset: str) -> None:
    words = (*WORDS, "crop=[16,24]", "network.encoder.widths=[8,8,8]", "run=planes")
    model = train_study(StudyRequest(dataset, home, words))
    assert open_model(model).content["network"]["spatial_dims"] == 2
    output = home / "planes"
    request = PredictRequest(model, None, output, home, ("cases=validation", "device=cpu"))
    assert predict_pretraining(request).exit_code == 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mask_ratio=1.0", "mask_ratio"),
        ("crop=[16]", "two or three sizes"),
        ("crop=[15,24,16]", "multiples of the network's cells"),
        ("window_hu=[250,-175]", "lower end first"),
        ("nonsense=1", "nonsense"),
        ("network.filler=nothing", "filler"),
    ],
)
def test_a_slip_is_answered(home: Path, dataset: str, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_study(StudyRequest(dataset, home, (*WORDS, word, "run=slip")))


def test_crops_cover_a_volume_and_stay_inside() -> None:
    starts = crop_starts((50, 20, 32), (32, 32, 32))
    assert starts == [(0, -6, 0), (18, -6, 0)]
