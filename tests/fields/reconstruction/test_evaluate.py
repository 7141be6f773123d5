import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.data.kspace_writers import read_reconstruction, write_fastmri, write_reconstruction
from medssm.data.readers.kspace import open_kspace
from medssm.fields.reconstruction.baseline_prediction import predict_baseline
from medssm.fields.reconstruction.evaluate import evaluate_reconstruction
from medssm.fields.reconstruction.reference_images import reference_of
from medssm.metrics.reconstruction import all_scores
from medssm.runs.field import EvaluateRequest, PredictRequest
from tests.support.kspace import calgary_file, columns, fastmri_file, multi_coil

SAMPLING = ("sampling.center_fractions=[0.2]", "sampling.accelerations=[3]")


def _predict(source, output, *words):
    return predict_baseline(
        PredictRequest(Path("baseline"), source, output, output / "home", (*words, *SAMPLING))
    )


def _evaluate(predictions, *words, references=None, against=None):
    return evaluate_reconstruction(
        EvaluateRequest(predictions, references, None, against, predictions / "home", words)
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three volumes, reconstructed by CG-SENSE and by SENSE."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "brains").mkdir()
    for seed in range(3):
        fastmri_file(folder / "brains" / f"file{seed}.h5", seed=seed, size=(48, 48), slices=3,
                     recon_size=(40, 40))  # fmt: skip
    _predict(folder / "brains", folder / "cg", "method=cg_sense")
    _predict(folder / "brains", folder / "sense", "method=sense")
    return folder


def test_scores_are_those_of_the_conventions(study):
    answer = _evaluate(study / "cg")
    assert answer.exit_code == 0
    content = json.loads((study / "cg" / "evaluation" / "scores.json").read_text())
    volume = open_kspace(study / "brains" / "file1.h5")
    truth = np.stack([reference_of(volume, index) for index in range(3)])
    found = read_reconstruction(study / "cg" / "file1.h5")["reconstruction"]
    expected = all_scores(truth, found)["volume"]
    case = next(each for each in content["cases"] if each["case"] == "file1")
    assert case["volume"]["cg_sense"] == pytest.approx(expected, rel=1e-6)
    mean = np.mean([each["volume"]["cg_sense"]["fastmri.whole.psnr"] for each in content["cases"]])
    interval = answer.facts["mean"]["cg_sense"]["fastmri.whole.psnr"]
    assert interval["mean"] == pytest.approx(mean)
    assert interval["low"] < interval["mean"] < interval["high"]
    assert answer.facts["score"] == answer.facts["mean"]["cg_sense"]["fastmri.whole.ssim"]["mean"]


def test_tables_hold_every_volume_and_slice_of_every_method(study):
    _evaluate(study / "cg", "baselines=[zero_filled,sense]")
    with (study / "cg" / "evaluation" / "volumes.csv").open() as stream:
        volumes = list(csv.DictReader(stream))
    assert {(each["case"], each["method"]) for each in volumes} == {
        (f"file{n}", method) for n in range(3) for method in ("zero_filled", "sense", "cg_sense")
    }
    with (study / "cg" / "evaluation" / "slices.csv").open() as stream:
        slices = list(csv.DictReader(stream))
    assert len(slices) == 27
    assert all(float(each["calgary_campinas.whole.vif"]) > 0 for each in slices)


def test_the_report_shows_images_errors_masks_and_curves_on_stated_windows(study):
    answer = _evaluate(study / "cg", "baselines=[zero_filled,sense]", "shown=2")
    page = answer.written[0].read_text()
    for phrase in ("By method, as fastMRI counts", "By method, as Calgary-Campinas counts",
                   "By volume", "By slice, cg_sense", "Against zero_filled", "a gain of 10",
                   "Mask and sensitivities", "Slice by slice", "95 % bootstrap interval",
                   "data range = maximum of the reference over the volume"):  # fmt: skip
        assert phrase in page
    assert re.search(r"white = [\d.e+-]+, errors 0 to", page)
    # two slices, their masks, SSIM and PSNR over the slices of two volumes
    assert page.count("data:image/png") in (2 + 1 + 4, 2 + 2 + 4)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "baselines=[zero_filled,sense]" in page.replace("&#39;", "")


def test_baselines_at_their_best_are_called_so(study, tmp_path):
    _predict(study / "brains" / "file0.h5", tmp_path / "one", "method=sense")
    answer = _evaluate(tmp_path / "one", "baselines=[zero_filled,cg_sense]", "tune=oracle_psnr")
    means = answer.facts["mean"]
    assert set(means) == {"zero_filled", "cg_sense (oracle psnr)", "sense"}
    plain = _evaluate(tmp_path / "one", "baselines=[cg_sense]").facts["mean"]["cg_sense"]
    key = "fastmri.whole.psnr"
    assert means["cg_sense (oracle psnr)"][key]["mean"] >= plain[key]["mean"]
    assert any("cg_sense (oracle psnr)" in line for line in answer.lines)


def test_two_predictions_are_compared_volume_by_volume(study):
    answer = _evaluate(study / "cg", against=study / "sense")
    against = answer.facts["against"]
    assert against["method"] == "sense"
    difference = against["differences"]["fastmri.whole.psnr"]
    assert difference["wins"] == 3
    # of errors the lower one is better
    error = against["differences"]["fastmri.whole.nmse"]
    assert error["difference"]["mean"] < 0
    assert (error["wins"], error["losses"]) == (3, 0)
    assert difference["difference"]["mean"] > 1
    assert "Against sense (--against)" in answer.written[0].read_text()


def test_references_may_be_other_files(study, tmp_path):
    truth = {}
    for seed in range(3):
        volume = open_kspace(study / "brains" / f"file{seed}.h5")
        truth[f"file{seed}"] = np.stack([reference_of(volume, index) for index in range(3)])
    np.save(tmp_path / "file0.npy", truth["file0"])
    write_reconstruction(tmp_path / "file1", truth["file1"], volume)
    answer = _evaluate(study / "cg", references=tmp_path)
    assert answer.exit_code == 3
    assert list(answer.facts["failed"]) == ["file2"]
    own = _evaluate(study / "cg").facts
    assert answer.facts["cases"] == 2
    assert own["cases"] == 3
    np.save(tmp_path / "file2.npy", truth["file2"][:, :30])
    answer = _evaluate(study / "cg", references=tmp_path)
    assert "Expected (3, 30, 40) as the reference has" in answer.facts["failed"]["file2"]


def test_undersampled_volumes_are_judged_by_withheld_samples(tmp_path):
    mask = columns(48, every=3, acs=12)
    write_fastmri(tmp_path / "u.h5", multi_coil(size=(48, 48)) * mask, mask=mask)
    _predict(tmp_path / "u.h5", tmp_path / "out", "method=cg_sense")
    answer = _evaluate(tmp_path / "out", "baselines=[zero_filled,sense,l1_wavelet]")
    assert answer.exit_code == 0
    errors = answer.facts["withheld_error"]
    assert set(errors) == {"cg_sense", "sense", "l1_wavelet"}
    assert errors["l1_wavelet"]["mean"] < min(1, errors["sense"]["mean"])
    page = answer.written[0].read_text()
    assert "Volumes without a reference have no SSIM or PSNR" in page
    assert "Error on withheld samples" in page


def test_calgary_campinas_is_scored_whole(tmp_path):
    source = calgary_file(tmp_path / "e1s1_P1.7.h5", slices=1, coils=4)
    words = ("method=cg_sense", "sampling.masks=[poisson]", "sampling.center_fractions=[0.04]")
    predict_baseline(PredictRequest(Path("baseline"), source, tmp_path / "out", tmp_path, words))
    means = _evaluate(tmp_path / "out").facts["mean"]
    key = "calgary_campinas.whole.psnr"
    assert means["cg_sense"][key]["mean"] > means["zero_filled"][key]["mean"] + 1


def test_a_stated_uncertainty_is_held_against_the_errors(study, tmp_path):
    source = study / "brains" / "file0.h5"
    _predict(source, tmp_path / "out", "method=cg_sense")
    volume = open_kspace(source)
    truth = np.stack([reference_of(volume, index) for index in range(3)])
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.005, 0.02, truth.shape).astype(np.float32)
    made = truth + spread * rng.normal(size=truth.shape)
    write_reconstruction(tmp_path / "out" / "file0", made, volume, uncertainty=spread)
    answer = _evaluate(tmp_path / "out")
    assert answer.facts["calibration"]["within_2"] == pytest.approx(0.954, abs=0.02)
    assert any("two stated deviations" in line for line in answer.lines)
    assert "stated deviation" in answer.written[0].read_text()


def test_a_baseline_that_cannot_be_is_left_out_and_said(tmp_path):
    source = fastmri_file(tmp_path / "a.h5", size=(48, 48), recon_size=(40, 40))
    words = ("method=zero_filled", "sampling.center_fractions=[0.1]")
    predict_baseline(PredictRequest(Path("baseline"), source, tmp_path / "out", tmp_path, words))
    answer = _evaluate(tmp_path / "out", "baselines=[cg_sense]")
    assert list(answer.facts["mean"]) == ["zero_filled"]
    assert "a: no cg_sense: a calibration area of" in answer.written[0].read_text()


def test_a_lost_input_is_named(study, tmp_path):
    source = fastmri_file(tmp_path / "gone.h5", size=(48, 48), recon_size=(40, 40))
    _predict(source, tmp_path / "out", "method=sense")
    source.unlink()
    with pytest.raises(BadDataError, match=r"gone.h5: the input of gone is gone.*with -r"):
        _evaluate(tmp_path / "out")


def test_wrong_words_and_folders_are_answered(study, tmp_path):
    with pytest.raises(UsageError, match="there is no baseline 'cs'"):
        _evaluate(study / "cg", "baselines=[cs]")
    with pytest.raises(UsageError, match="evaluate has no argument 'metric'"):
        _evaluate(study / "cg", "metric=ssim")
    (tmp_path / "predictions.json").write_text('{"field": "reconstruction", "cases": {"a": {}}}')
    with pytest.raises(BadDataError, match=r"predictions.json: not a record"):
        _evaluate(tmp_path)
