"""A bundle of a pre-trained encoder: predict's embeddings, and weights to fine-tune from."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from medssm.core.errors import BadDataError
from medssm.core.files import read_json
from medssm.fields.pretraining.archive import import_archive
from medssm.fields.pretraining.demo import make_scans
from medssm.fields.pretraining.export import export_encoder
from medssm.fields.pretraining.model_folder import open_model
from medssm.fields.pretraining.predict import predict_pretraining
from medssm.fields.pretraining.story import train_study
from medssm.networks.lightm_unet import LightMUNet
from medssm.runs.answer import Answer
from medssm.runs.field import ExportRequest, ImportRequest, PredictRequest, StudyRequest
from tests.support.bundles import run_config

COMMON = (
    "preprocess.spacing_mm=null", "preprocess.val_share=0.34", "network.decoder_width=16",
    "batch_size=2", "trainer.max_epochs=1",
    "trainer.steps_per_epoch=1", "trainer.workers=0", "trainer.precision=32-true",
    "trainer.accelerator=cpu",
)  # fmt: skip
HYBRID = ("network=mamba_mim_small", "network.encoder.widths=[8,8,12]", "crop=[16,24,16]")
LIGHT = (
    "network=mamba_mim", "network.encoder.name=lightm_unet", "+network.encoder.init_filters=8",
    "+network.encoder.blocks_down=[1,1,1]", "+network.encoder.blocks_up=[1,1]", "crop=[16,16,16]",
    "run=light",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    make_scans(home / "scans", 6, seed=3)
    import_archive(ImportRequest("archive", home / "scans", home, "Dataset101_Scans"))
    return home


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    return train_study(StudyRequest("Dataset101_Scans", home, (*COMMON, *HYBRID)))


def _export(home: Path, model: Path, output: Path, *words: str, embed: bool = False) -> Answer:
    return export_encoder(ExportRequest(model, output, "bundle", home, embed, words))


def _tuned(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """Run the page's own lines of Python in the bundle; what they build."""
    page = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(bundle)
    space: dict[str, torch.nn.Module] = {}
    exec(code, space)
    return space["network"]


def test_an_embedded_bundle_proves_itself_where_medssm_is_hidden(
    home: Path, model: Path, tmp_path: Path
) -> None:
    facts = _export(home, model, tmp_path / "Encoder", embed=True).facts
    assert facts["volumes"] == 1
    assert facts["largest_difference_of_a_number"] < 1e-5
    content = read_json(tmp_path / "Encoder" / "configs" / "metadata.json")
    assert content["network_data_format"]["outputs"]["pred"]["num_channels"] == 12
    assert "medssm" not in content["required_packages_version"]


def test_embeddings_are_those_of_predict(home: Path, model: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "Encoder"
    _export(home, model, bundle, "prove=false")
    assert not (bundle / "configs" / "train.json").exists()
    given = tmp_path / "given"
    given.mkdir()
    files = sorted((home / "scans").rglob("*.nii.gz"))[:2]
    for index, file in enumerate(files):
        (given / f"scan_{index}.nii.gz").symlink_to(file)
    predict_pretraining(
        PredictRequest(model, given, tmp_path / "ours", home, ("reconstructions=false",))
    )
    (given / "cut.nii.gz").write_bytes(b"no volume")
    run_config(bundle, "inference", dataset_dir=given, output_dir=tmp_path / "monai")
    rows = list(csv.DictReader((tmp_path / "monai" / "answers.csv").open()))
    ours = read_json(tmp_path / "ours" / "predictions.json")["cases"]
    assert [row.pop("case") for row in rows] == sorted(ours) == ["scan_0", "scan_1"]
    for row, name in zip(rows, sorted(ours), strict=True):
        np.testing.assert_allclose([*map(float, row.values())], ours[name]["embedding"], atol=1e-6)
    assert read_json(tmp_path / "monai" / "cut.json")["problem"]


def test_the_page_tells_how_to_fine_tune(
    home: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _export(home, model, tmp_path / "Encoder", "prove=false")
    network = _tuned(tmp_path / "Encoder", monkeypatch)
    trained = open_model(model).network.state_dict()
    mine = network.state_dict()
    names = [name for name in trained if name.startswith("encoder.")]
    assert names
    assert all(torch.equal(mine[name], trained[name]) for name in names)


def test_a_network_that_is_its_own_encoder_is_fine_tuned_too(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    light = train_study(StudyRequest("Dataset101_Scans", home, (*COMMON, *LIGHT)))
    _export(home, light, tmp_path / "Encoder", "prove=false")
    network = _tuned(tmp_path / "Encoder", monkeypatch)
    assert isinstance(network, LightMUNet)
    trained = open_model(light).network.state_dict()
    for name, value in network.state_dict().items():
        if f"encoder.{name}" in trained:
            assert torch.equal(value, trained[f"encoder.{name}"])


def test_a_proof_without_volumes_says_what_to_give(home: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="input=FOLDER"):
        _export(tmp_path / "elsewhere", model, tmp_path / "Encoder")
    assert list(tmp_path.iterdir()) == []
