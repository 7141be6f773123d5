"""A bundle of electrocardiograms answers as predict does, with and without medssm."""

import csv
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import list_data_collate

from medssm.bundle import proof
from medssm.core.errors import BadDataError, MedssmError, UsageError
from medssm.core.files import read_json, write_json
from medssm.data.ecg.classes import challenge_classes
from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.synthetic import SyntheticShape, make_synthetic_records
from medssm.fields.ecg.calibration import Calibration
from medssm.fields.ecg.export import export
from medssm.fields.ecg.model_folder import CALIBRATION, write_model_folder
from medssm.fields.ecg.outputs import read_predictions
from medssm.fields.ecg.plan_file import EcgPlan
from medssm.fields.ecg.predict import PredictConfig, predict
from medssm.fields.ecg.travel import ReadRandomWindowd, ReadWindowsd, list_records
from medssm.networks import ECG_NETWORKS
from medssm.runs.answer import Answer
from medssm.runs.field import ExportRequest
from medssm.training.checkpoints import WEIGHTS, write_weights
from tests.support.bundles import missing_properties, run_config

NETWORK: dict[str, Any] = {
    "name": "ecg_mamba", "out_channels": 3, "length": 200, "width": 16, "depth": 1,
    "stem_widths": [8, 8, 16], "mixer": {"name": "vim", "state": 4}, "patient": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short records, one of twelve minutes that is read span by span, and one cut off."""
    folder = tmp_path_factory.mktemp("records")
    make_synthetic_records(folder, 6, 0, "section11", SyntheticShape(seconds=10.0, rate_hz=100.0))
    shape = SyntheticShape(seconds=720.0, rate_hz=50.0)
    make_synthetic_records(folder / "long", 1, 7, "section11", shape)
    np.save(folder / "cut.npy", np.zeros(3))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = EcgPlan("d", "s", "challenge2021", challenge_classes(2021)[:3], rate_hz=20.0,
                   bandpass_hz=(0.5, 9.0))  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    for fold in range(2):
        torch.manual_seed(fold)
        network = ECG_NETWORKS.build(**NETWORK)
        write_model_folder(folder, f"fold_{fold}", NETWORK, plan, "Dataset001_D")
        write_weights(folder / f"fold_{fold}" / WEIGHTS, network.state_dict())
        made = Calibration(np.array([0.5, 1, 2]), np.array([fold, 0, -1.0]), np.full(3, 0.3))
        write_json(folder / f"fold_{fold}" / CALIBRATION, made.plain())
    return folder


def _export(model: Path, output: Path, *words: str, embed: bool = False) -> Answer:
    words = ("folds=[1]", *words)
    return export(ExportRequest(model, output, "bundle", output.parent, embed, words))


@pytest.fixture(scope="module")
def bundle(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundle") / "Ecg"
    _export(model, output, "prove=false")
    return output


def test_an_embedded_bundle_proves_itself_where_medssm_is_hidden(
    model: Path, records: Path, tmp_path: Path
) -> None:
    output = tmp_path / "Ecg"
    answer = _export(model, output, f"input={records}", "cases=3", embed=True)
    assert answer.facts["records"] == 3
    assert answer.facts["largest_difference_of_a_probability"] < 1e-5
    for file in output.rglob("*.py"):
        lines = file.read_text(encoding="utf-8").splitlines()
        assert not [
            each for each in lines if each.strip().startswith(("from medssm", "import medssm"))
        ]
    needs = read_json(output / "configs" / "metadata.json")["required_packages_version"]
    assert "wfdb" in needs
    assert "medssm" not in needs
    page = (output / "docs" / "README.md").read_text(encoding="utf-8")
    assert "- records: 3" in page
    assert "pip install torch monai" in page


def test_every_record_is_answered_as_predict_does(
    bundle: Path, model: Path, records: Path, tmp_path: Path
) -> None:
    run_config(bundle, "inference", dataset_dir=records, output_dir=tmp_path / "monai")
    predict(PredictConfig(model, tmp_path / "ours", records, folds=(1,), pages="none"))
    ours = read_predictions(tmp_path / "ours")["cases"]
    assert len(ours) == 7
    table = list(csv.DictReader((tmp_path / "monai" / "answers.csv").open()))
    for case in ours.values():
        (each,) = [row for row in list_records(str(records)) if row["image"] == case["file"]]
        rows = [row for row in table if row["case"] == each["case"]]
        found = [float(row["probability"]) for row in rows]
        np.testing.assert_allclose(found, case["probabilities"], atol=1e-7)
        assert [bool(int(row["decided"])) for row in rows] == case["decided"]
    assert "cut.npy" in read_json(tmp_path / "monai" / "cut.json")["problem"]


def test_a_packed_bundle_is_called_as_the_folder_it_unpacks_to(model: Path, tmp_path: Path) -> None:
    _export(model, tmp_path / "Ecg.zip", "prove=false")
    with zipfile.ZipFile(tmp_path / "Ecg.zip") as packed:
        assert {name.partition("/")[0] for name in packed.namelist()} == {"Ecg"}
        page = packed.read("Ecg/docs/README.md").decode()
        content = json.loads(packed.read("Ecg/configs/metadata.json"))
    assert page.startswith("# Ecg\n")
    assert content["name"] == "Ecg"


def test_evaluation_and_training_run(bundle: Path, records: Path, tmp_path: Path) -> None:
    codes = [each.codes[0] for each in challenge_classes(2021)[:3]]
    names = [Path(row["image"]).stem for row in list_records(str(records))]
    labels = tmp_path / "labels.csv"
    rows = [f"{name},{';'.join(codes[: i % 4])}" for i, name in enumerate(names)]
    labels.write_text("\n".join(["record,codes", *rows]) + "\n", encoding="utf-8")
    given = {"dataset_dir": records, "labels_file": labels}
    run_config(bundle, "evaluate", output_dir=tmp_path / "out", **given)
    metric = (tmp_path / "out" / "metrics.csv").read_text(encoding="utf-8")
    assert 0 <= float(metric.split(",")[1]) <= 1
    (records / "cut.npy").rename(tmp_path / "cut.npy")
    try:
        before = torch.load(bundle / "models" / "model.pt", weights_only=True)
        parser = run_config(bundle, "train", epochs=1, **given)
        after = torch.load(bundle / "models" / "model_trained.pt", weights_only=True)
        assert any(not torch.equal(after[name], before[name]) for name in before)
        assert parser.get_parsed_content("train::trainer").state.epoch == 1
        for name, kind in (("inference", "infer"), ("evaluate", "infer"), ("train", "train")):
            assert missing_properties(bundle, name, kind, **given) == []
    finally:
        (tmp_path / "cut.npy").rename(records / "cut.npy")


def test_records_in_and_outside_the_table_of_labels_go_into_one_batch(
    records: Path, tmp_path: Path
) -> None:
    classes = [asdict(each) for each in challenge_classes(2021)[:3]]
    rows = [row for row in list_records(str(records)) if row["image"].endswith(".hea")]
    labels = tmp_path / "labels.csv"
    first = Path(rows[0]["image"]).stem
    labels.write_text(f"record,codes\n{first},{classes[1]['code']}\n", encoding="utf-8")
    plan = EcgPlan("d", "s", "t", (), rate_hz=20.0).plain()
    read = ReadRandomWindowd("image", {"rate_hz": 20.0, "leads": plan["leads"]}, 200, classes)
    told = [row for row in list_records(str(records), str(labels)) if row["image"].endswith(".hea")]
    batch = list_data_collate([read(row) for row in told[:3]])
    assert batch["label"].shape == (3, 3)
    assert batch["label"][0].tolist() == [0, 1, 0]
    assert torch.equal(batch["label"][1:], torch.stack([read(row)["label"] for row in rows[1:3]]))


def test_a_record_without_diagnoses_is_read_and_cannot_be_learned_from(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).standard_normal((12, 5000)))
    write_json(tmp_path / "plain.json", {"leads": list(LEADS), "rate_hz": 500, "unit": "mV"})
    (row,) = list_records(str(tmp_path))
    classes = [asdict(each) for each in challenge_classes(2021)[:3]]
    made = {"keys": "image", "plan": {"rate_hz": 20.0}, "length": 200, "classes": classes}
    case = ReadWindowsd(**made)(row)
    assert case["problem"] == ""
    assert case["label"].isnan().all()
    with pytest.raises(BadDataError, match="record=plain"):
        ReadRandomWindowd(**made)(row)


def test_a_table_of_labels_without_its_columns_is_refused(records: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("name,codes\na,1\n", encoding="utf-8")
    with pytest.raises(BadDataError, match="record, codes"):
        list_records(str(records), str(labels))


def test_another_answer_refuses_the_bundle(
    model: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("verify_metadata", "verify_in_out"):
        monkeypatch.setattr(proof, name, lambda *_: None)

    def lie(folder: Path, images: Path, output: Path, hidden: Path | None) -> None:
        assert (folder / "models" / "model.pt").is_file()
        for file in images.glob("*.hea"):
            rows = [{"probability": 0.5}] * 3
            write_json(output / f"{file.stem}.json", {"rows": rows})

    monkeypatch.setattr(proof, "run_inference", lie)
    with pytest.raises(MedssmError, match="not written"):
        _export(model, tmp_path / "Ecg", f"input={records}", "cases=2")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_bundle_is_said(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"folds=\[0\]"):
        export(ExportRequest(model, tmp_path / "b", "bundle", tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadDataError, match="prove=false"):
        _export(model, tmp_path / "b", f"input={tmp_path / 'empty'}")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
