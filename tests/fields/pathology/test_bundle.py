"""A bundle of tile features answers as predict does, with and without medssm."""

import csv

import numpy as np
import pytest
import torch

from medssm.bundle import proof
from medssm.cli.main import main
from medssm.core.errors import BadDataError
from medssm.core.files import read_json, write_json
from medssm.data.bags import read_bag, read_slide_table, write_bag
from medssm.fields.pathology.travel import ReadBagd, list_bags
from tests.support.bags import FACTS, WIDTH, grid, make_study
from tests.support.bundles import missing_properties, run_config

COMMON = (
    "planner.folds=2", "planner.validation=false", "trainer.max_epochs=1", "batch_size=4",
    "trainer.accelerator=cpu",
)  # fmt: skip


def _train(folder, name, *words, **kind):
    make_study(folder / name, slides=16, **kind)
    home = folder / "home"
    assert main(["import", "features", str(folder / name), "--name", f"Dataset703_{name}",
                 "--home", str(home), "-q"]) == 0  # fmt: skip
    assert main(["train", f"Dataset703_{name}", "--home", str(home), "-q", *COMMON, *words]) == 0
    (model,) = (home / "results" / f"Dataset703_{name}").iterdir()
    return model


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Features and a model that reads them column by column, standardised."""
    folder = tmp_path_factory.mktemp("classes")
    words = ("network=mamba_mil", "network.depth=1", "network.width=16",
             "network.attention_width=8", "order=column", "standardise=true")  # fmt: skip
    return folder / "C", _train(folder, "C", *words)


@pytest.fixture(scope="module")
def times(tmp_path_factory):
    """Features and a model of survival, a bag a patient."""
    folder = tmp_path_factory.mktemp("times")
    words = ("network=abmil", "planner.unit=patient")
    return folder / "T", _train(folder, "T", *words, survival=True, per_patient=2)


def _bundle(model, output, *words):
    assert main(["export", str(model), str(output), "-q", "folds=[0]", *words]) == 0
    return output


def _ours(model, source, output, *words):
    assert main(["predict", str(model), "-i", str(source), "-o", str(output), "-q", "folds=[0]",
                 "heatmaps=false", *words]) == 0  # fmt: skip
    return read_json(output / "predictions.json")["cases"]


def test_an_embedded_bundle_proves_itself_where_medssm_is_hidden(classes, tmp_path):
    output = _bundle(classes[1], tmp_path / "Bags", "--embed", "cases=3")
    page = (output / "docs" / "README.md").read_text(encoding="utf-8")
    assert "- bags: 3" in page
    assert "- without medssm: True" in page
    assert "Slides themselves are not read" in page
    content = read_json(output / "configs" / "metadata.json")
    assert "medssm" not in content["required_packages_version"]
    assert content["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] == "tumour"


def test_classes_and_shares_are_those_of_predict(classes, tmp_path):
    source, model = classes
    bundle = _bundle(model, tmp_path / "Bags", "prove=false")
    given = tmp_path / "given"
    given.mkdir()
    for name in ("slide_00", "slide_01"):
        (given / f"{name}.h5").symlink_to(source / f"{name}.h5")
    bag = read_bag(source / "slide_02.h5")
    np.savez(given / "zipped.npz", features=bag.features, coords=bag.coords)
    cases = _ours(model, given, tmp_path / "ours")
    alone = _ours(model, given / "zipped.npz", tmp_path / "alone")
    assert alone["zipped"]["row"] == cases["zipped"]["row"]
    (given / "cut.h5").write_bytes(b"no HDF5")
    torch.save(torch.tensor(bag.features), given / "placeless.pt")
    found = tmp_path / "monai"
    run_config(bundle, "inference", dataset_dir=given, output_dir=found)
    rows = {row["case"]: row for row in csv.DictReader((found / "answers.csv").open())}
    assert sorted(rows) == sorted(cases) == ["slide_00", "slide_01", "zipped"]
    for name, case in cases.items():
        assert rows[name]["predicted"] == case["row"]["predicted"]
        assert float(rows[name]["p_tumour"]) == pytest.approx(case["row"]["p_tumour"], abs=1e-6)
        shares = list(csv.DictReader((found / "attention" / f"{name}.csv").open()))
        places = [(int(row["x"]), int(row["y"])) for row in shares]
        part = read_bag(given / f"{name}{'.npz' if name == 'zipped' else '.h5'}")
        assert places == [tuple(place) for place in part.coords]
    assert "not readable as HDF5" in read_json(found / "cut.json")["problem"]
    assert "has no coords" in read_json(found / "placeless.json")["problem"]


def test_features_of_another_encoder_are_refused_until_the_user_asks(classes, tmp_path):
    bundle = _bundle(classes[1], tmp_path / "Bags", "prove=false")
    write_bag(tmp_path / "in" / "a.h5", np.ones((5, WIDTH), np.float32), grid(5),
              {**FACTS, "encoder": "other"})  # fmt: skip
    given = {"dataset_dir": tmp_path / "in", "output_dir": tmp_path / "out"}
    run_config(bundle, "inference", **given)
    answer = read_json(tmp_path / "out" / "a.json")
    assert "--check_encoder False" in answer["problem"]
    assert answer["rows"] == []
    run_config(bundle, "inference", check_encoder=False, **given)
    assert len(read_json(tmp_path / "out" / "a.json")["rows"]) == 1


def test_survival_of_patients_is_evaluated_and_learnt(times, tmp_path):
    source, model = times
    bundle = _bundle(model, tmp_path / "Bags", "prove=false")
    labels = source / "labels.csv"
    cases = _ours(model, source, tmp_path / "ours", f"table={labels}")
    given = {"dataset_dir": source, "labels_file": labels}
    lines = labels.read_text(encoding="utf-8").splitlines(keepends=True)
    short = tmp_path / "short.csv"
    short.write_text("".join(lines[:-1]), encoding="utf-8")
    run_config(bundle, "evaluate", output_dir=tmp_path / "short", dataset_dir=source,
               labels_file=short)  # fmt: skip
    assert len((tmp_path / "short" / "answers.csv").read_text(encoding="utf-8").splitlines()) > 8
    run_config(bundle, "evaluate", output_dir=tmp_path / "out", **given)
    rows = {row["case"]: row for row in csv.DictReader((tmp_path / "out" / "answers.csv").open())}
    assert sorted(rows) == sorted(cases)
    assert sorted(rows) == sorted({row.patient for row in read_slide_table(labels).values()})
    for name, case in cases.items():
        for key in ("risk", "hazard_0"):
            assert float(rows[name][key]) == pytest.approx(case["row"][key], abs=1e-6)
    assert "val_concordance" in (tmp_path / "out" / "metrics.csv").read_text(encoding="utf-8")
    run_config(bundle, "train", epochs=1, **given)
    for name, kind in (("inference", "infer"), ("evaluate", "infer"), ("train", "train")):
        assert missing_properties(bundle, name, kind, **given) == []
    before, after = (
        torch.load(bundle / "models" / f"{name}.pt", weights_only=True)
        for name in ("model", "model_trained")
    )
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_no_patients_name_leads_out_of_the_folder(times, tmp_path):
    source, _ = times
    slide = next(iter(read_slide_table(source / "labels.csv")))
    table = tmp_path / "labels.csv"
    table.write_text(f"case_id,slide_id\n../../out,{slide}\n", encoding="utf-8")
    with pytest.raises(BadDataError, match="name of a bag"):
        list_bags(str(source), str(table), unit="patient")
    assert len(list_bags(str(source), str(table))) > 1


def test_a_patient_of_two_classes_has_none(tmp_path):
    labels = make_study(tmp_path, slides=4)
    rows = ["case_id,slide_id,label"] + [
        f"p{i // 2},slide_{i:02d},{label}"
        for i, label in enumerate(("normal", "tumour", "", "normal"))
    ]
    labels.write_text("\n".join(rows) + "\n", encoding="utf-8")
    one, two = list_bags(str(tmp_path), str(labels), unit="patient")
    assert two["class"] == "normal"
    origin = {"network": "clam", "order": "file", "orders": ["row"], "encoder": None}
    read = ReadBagd("image", WIDTH, origin, classes=["normal", "tumour"])
    assert read(two)["label"].tolist() == [1, 0]
    assert read(one)["label"].isnan().all()
    strict = ReadBagd("image", WIDTH, origin, classes=["normal", "tumour"], strict=True)
    with pytest.raises(BadDataError, match="'normal or tumour'"):
        strict(one)


def test_another_answer_refuses_the_bundle(classes, tmp_path, monkeypatch, capsys):
    for name in ("verify_metadata", "verify_in_out"):
        monkeypatch.setattr(proof, name, lambda *_: None)

    def lie(_, images, output, __, **___):
        for file in images.glob("*.h5"):
            write_json(output / f"{file.stem}.json", {"rows": []})

    monkeypatch.setattr(proof, "run_inference", lie)
    words = ["export", str(classes[1]), str(tmp_path / "Bags"), "-q", "folds=[0]", "cases=1"]
    assert main(words) == 70
    assert "not written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_holds_one_fold(classes, tmp_path, capsys):
    assert main(["export", str(classes[1]), str(tmp_path / "b"), "-q"]) == 2
    assert "folds=[0]" in capsys.readouterr().err
