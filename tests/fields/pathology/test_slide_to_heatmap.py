"""From slides to heatmaps by the commands: trained on synthetic slides, applied to the real one."""

import json

import numpy as np
import pytest
from PIL import Image

from medssm.cli.main import main
from medssm.data.bags import read_bag
from medssm.data.slides import open_slide
from medssm.data.slides.synthetic import SyntheticShape, make_synthetic_slides
from tests.support.shared import shared_folder
from tests.support.slides import make_slide, make_truncated, need_pathology

need_pathology()
REAL = "cmu-1-small-region"
SHORT = (
    "preprocess.encoder.name=resnet10t", "preprocess.encoder.weights=random",
    "preprocess.encoder.input_px=32", "preprocess.encoder.device=cpu", "planner.folds=2",
    "planner.validation=false", "network.width=16", "network.depth=1", "network.attention_width=8",
    "trainer.max_epochs=2", "trainer.accelerator=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    slides = home / "slides"
    make_synthetic_slides(slides, 6, 0, SyntheticShape((768, 768), levels=2))
    name = "Dataset031_Small"
    assert main(["import", "slides", str(slides), "--home", str(home), "--name", name]) == 0
    assert main(["train", "31", *SHORT, "--home", str(home), "-q"]) == 0
    (folder,) = (home / "results" / name).iterdir()
    return folder


@pytest.fixture(scope="module")
def predicted(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    real = shared_folder("data/pathology/slides") / f"{REAL}.svs"
    (folder / real.name).symlink_to(real)
    make_truncated(folder / "cut.svs", real, 0.4)
    make_slide(folder / "mute.tiff", mpp=None)
    output = folder / "out"
    code = main(["predict", str(model), "-i", str(folder), "-o", str(output), "-q", "device=cpu"])
    return folder, output, code


def test_the_real_slide_is_answered_beside_those_that_fail(predicted):
    _, output, code = predicted
    cases = json.loads((output / "predictions.json").read_text())
    assert code == 3
    rows = {name: case["row"] for name, case in cases["cases"].items()}
    assert {name: row["status"] for name, row in rows.items()} == {
        REAL: "done", "cut": "failed", "mute": "failed",
    }  # fmt: skip
    assert rows[REAL]["p_normal"] + rows[REAL]["p_tumour"] == pytest.approx(1.0)
    assert "truncated" in cases["failed"]["cut"]
    assert "medssm predict: mpp=0.25" in cases["failed"]["mute"]


def test_attention_heatmap_and_geojson_lie_on_the_tiles_of_the_slide(predicted):
    h5py = pytest.importorskip("h5py")
    folder, output, _ = predicted
    bag = read_bag(output / "features" / f"{REAL}.h5")
    with h5py.File(output / "attention" / f"{REAL}.h5") as file:
        attention = file["attention"][0]
        assert np.array_equal(file["coords"], bag.coords)
    assert attention.sum() == pytest.approx(1.0, abs=1e-4)
    content = json.loads((output / "qupath" / f"{REAL}.geojson").read_text())
    drawn = [feature["geometry"]["coordinates"][0][0] for feature in content["features"]]
    assert np.array_equal(drawn, bag.coords)
    measured = [each["properties"]["measurements"]["attention"] for each in content["features"]]
    assert np.allclose(measured, attention, atol=1e-6)
    picture = Image.open(output / "heatmaps" / f"{REAL}.png")
    scale = json.loads(picture.text["medssm"])["scale_level0"]
    with open_slide(folder / f"{REAL}.svs") as slide:
        assert (picture.width, picture.height) == tuple(
            int(np.ceil(n / s)) for n, s in zip(slide.size, scale, strict=True)
        )
    best = bag.coords[int(attention.argmax())]
    assert (output / "top_tiles" / REAL / f"01_x{best[0]}_y{best[1]}.png").is_file()


def test_the_slide_that_asked_for_its_resolution_is_answered_when_told(model, predicted):
    folder, output, _ = predicted
    words = ["predict", str(model), "-i", str(folder), "-o", str(output), "-q", "mpp=0.5"]
    assert main([*words, "device=cpu"]) == 3
    cases = json.loads((output / "predictions.json").read_text())["cases"]
    assert [name for name, case in cases.items() if case["row"]["status"] == "failed"] == ["cut"]
