"""Two dimensions through the commands: a folder of PNG pictures, grey or in colour, to scores."""

import json

import imageio.v3 as imageio
import numpy as np
import pytest

import medssm
from medssm.cli.main import main
from tests.support.pictures import make_picture_folder

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TINY = (
    "network=lightm_unet", "network.init_filters=8", "network.blocks_down=[1,1]",
    "network.blocks_up=[1]", "patch_size=[32,32]", "trainer.max_time=null",
    "trainer.max_epochs=1", "trainer.steps_per_epoch=60", "trainer.workers=0",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "budget=cpu", "optimizer.lr=0.005",
    "trainer.ema_decay=0.5", "trainer.threads=1", "planner.workers=1", "preprocess.workers=1",
)  # fmt: skip


def answer(capsys, *words, code=0):
    assert main([*map(str, words), "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_a_folder_of_pictures_becomes_label_maps_and_scores(tmp_path, capsys, colour):
    source = make_picture_folder(tmp_path / "source", colour)
    home = ("--home", tmp_path / "home")
    made = answer(capsys, "import", "folder", source, "--name", "Dataset011_Rings", *home)
    assert made["cases"] == 4
    assert len(made["channels"]) == (3 if colour else 1)
    model = answer(capsys, "train", 11, *TINY, *home)["model"]
    assert model.endswith("lightm_unet__medssmPlans__2d")
    out = tmp_path / "out"
    words = ("predict", model, "-i", source / "new_images", "-o", out, "device=cpu")
    assert answer(capsys, *words)["done"] == ["p4", "p5"]
    for name in ("p4", "p5"):
        label = imageio.imread(out / f"{name}.png")
        assert label.dtype == np.uint8
        assert label.shape == imageio.imread(source / "new_images" / f"{name}.png").shape[:2]
        assert set(np.unique(label)) <= {0, 1, 2}
    scores = answer(capsys, "evaluate", out, "-r", source / "new_labels")
    assert scores["cases"] == 2
    assert scores["mean"]["Dice"]["mean"] > 0.2, scores["mean"]["Dice"]
    page = (out / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "data:image/png" in page
    pixels = imageio.imread(source / "new_images" / "p4.png")
    array = np.moveaxis(pixels, -1, 0) if colour else pixels
    found = medssm.predict(model, array, spacing_mm=(1, 1), device="cpu")
    np.testing.assert_array_equal(found, imageio.imread(out / "p4.png"))


def test_a_colour_picture_among_grey_ones_and_a_coloured_label_are_named(tmp_path, capsys):
    source = make_picture_folder(tmp_path / "source", colour=False)
    grey = imageio.imread(source / "images" / "p1.png")
    imageio.imwrite(source / "images" / "p1.png", np.stack([grey, grey // 2, grey // 3], -1))
    label = imageio.imread(source / "labels" / "p2.png")
    imageio.imwrite(source / "labels" / "p2.png", np.stack([label] * 3, -1))
    assert main(["plan", str(source), "--home", str(tmp_path / "home"), "budget=cpu"]) == 3
    spoken = capsys.readouterr().err
    assert "3 channels in 1 file" in spoken
    assert "3 colours a pixel" in spoken
    assert "p1" in spoken
    assert "p2" in spoken
