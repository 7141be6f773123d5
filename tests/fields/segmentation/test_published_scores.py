"""Scores as the papers count stand beside the proper ones, under names of their own."""

import json

import imageio.v3 as imageio
import numpy as np
import pytest

from medssm.cli.main import main


def _write(root, case, reference, prediction):
    for folder, mask in (("labels", reference), ("guesses", prediction)):
        (root / folder).mkdir(exist_ok=True)
        imageio.imwrite(root / folder / f"{case}.png", mask)


def _mask(columns):
    mask = np.zeros((10, 10), np.uint8)
    mask[:, :columns] = 1
    return mask


@pytest.fixture
def folders(tmp_path):
    """A lesion of 50 pixels found whole; one of 10 missed; one of 0 with 20 pixels found."""
    _write(tmp_path, "a", _mask(5), _mask(5))
    _write(tmp_path, "b", _mask(1), _mask(0))
    _write(tmp_path, "c", _mask(0), _mask(2))
    return tmp_path


def _answer(folders, capsys, *words):
    assert main(["evaluate", str(folders / "guesses"), "-r", str(folders / "labels"),
                 *words, "--json"]) == 0  # fmt: skip
    return json.loads(capsys.readouterr().out)


def test_isic_pools_the_pixels_of_all_images(folders, capsys):
    answer = _answer(folders, capsys, "convention=isic")
    found = answer["as_published"]["mean"]
    assert found["ISIC_pooled_Dice"] == pytest.approx(2 * 50 / (60 + 70))
    assert found["ISIC_pooled_IoU"] == pytest.approx(50 / 80)
    assert found["ISIC_pooled_accuracy"] == pytest.approx(270 / 300)
    assert found["ISIC_pooled_sensitivity"] == pytest.approx(50 / 60)
    assert found["ISIC_pooled_specificity"] == pytest.approx(220 / 240)
    # properly: 1, a miss, a false detection
    assert answer["mean"]["Dice"]["mean"] == pytest.approx(1 / 3)
    assert "pooled" not in " ".join(answer["mean"])


def test_synapse_counts_a_false_organ_as_found(folders, capsys):
    answer = _answer(folders, capsys, "convention=synapse")
    assert answer["as_published"]["mean"] == {
        "TransUNet_Dice": pytest.approx((1 + 0 + 1) / 3),
        "TransUNet_HD95_voxels": 0.0,
    }
    assert answer["mean"]["Dice"]["mean"] == pytest.approx(1 / 3)
    assert answer["mean"]["HD95_mm"]["mean"] > 9
    summary = json.loads((folders / "guesses" / "evaluation" / "summary.json").read_text())
    assert summary["as_published"]["convention"] == "synapse"
    page = (folders / "guesses" / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "As the papers on synapse count" in page
    assert "convention=synapse" in page


def test_nobody_gets_them_unasked_and_a_slip_is_answered(folders, capsys):
    answer = _answer(folders, capsys)
    assert answer["as_published"] is None
    assert not any("TransUNet" in key for key in answer["mean"])
    words = ["evaluate", str(folders / "guesses"), "-r", str(folders / "labels")]
    assert main([*words, "convention=synapsis"]) == 2
    assert "synapse" in capsys.readouterr().err
