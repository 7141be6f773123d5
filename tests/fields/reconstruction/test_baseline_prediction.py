from pathlib import Path

import h5py
import numpy as np
import pytest

from medssm.core.errors import UsageError
from medssm.core.files import read_json
from medssm.data.kspace_writers import read_reconstruction, write_fastmri
from medssm.data.readers.kspace import open_kspace
from medssm.fields.reconstruction.baseline_prediction import is_baseline, predict_baseline
from medssm.runs.field import PredictRequest
from tests.support.kspace import calgary_file, columns, fastmri_file, multi_coil

SAMPLING = ("sampling.center_fractions=[0.2]", "sampling.accelerations=[3]")


@pytest.fixture
def brains(tmp_path):
    folder = tmp_path / "brains"
    folder.mkdir()
    for seed in range(2):
        fastmri_file(folder / f"file{seed}.h5", seed=seed, size=(48, 48), recon_size=(40, 40))
    return folder


def _predict(source, output, *words, force=False):
    request = PredictRequest(Path("baseline"), source, output, output / "home", words, force)
    return predict_baseline(request)


def _psnr(path, source):
    volume = open_kspace(source)
    truth = np.stack([volume.reference(index) for index in range(volume.slices)])
    found = read_reconstruction(path)["reconstruction"]
    return 10 * np.log10(truth.max() ** 2 / np.mean((found - truth) ** 2))


def test_every_volume_is_written_in_the_size_of_its_reference(brains, tmp_path):
    answer = _predict(brains, tmp_path / "zf", "method=zero_filled", *SAMPLING)
    assert answer.exit_code == 0
    assert sorted(answer.facts["done"]) == ["file0", "file1"]
    found = read_reconstruction(tmp_path / "zf" / "file1.h5")["reconstruction"]
    assert found.shape == (2, 40, 40)
    record = read_json(tmp_path / "zf" / "predictions.json")
    assert (record["field"], record["model"]) == ("reconstruction", "baseline")
    assert record["method"] == "zero_filled"
    assert answer.next_command == ("medssm", "evaluate", str(tmp_path / "zf"))


def test_all_methods_see_the_same_mask_and_solvers_win(brains, tmp_path):
    source = brains / "file0.h5"
    scores = {}
    for name in ("zero_filled", "cg_sense", "l1_wavelet"):
        _predict(source, tmp_path / name, f"method={name}", *SAMPLING)
        scores[name] = _psnr(tmp_path / name / "file0.h5", source)
    assert min(scores["cg_sense"], scores["l1_wavelet"]) > scores["zero_filled"] + 1.5
    masks = [np.load(next((tmp_path / name).rglob("file0.npy"))) for name in scores]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] == masks[2]).all()


def test_an_oracle_is_named_and_no_worse_than_the_default(brains, tmp_path):
    source = brains / "file0.h5"
    _predict(source, tmp_path / "plain", "method=cg_sense", *SAMPLING)
    answer = _predict(source, tmp_path / "best", "method=cg_sense", "tune=oracle_psnr", *SAMPLING)
    assert answer.facts["method"] == "cg_sense (oracle psnr)"
    record = read_json(tmp_path / "best" / "predictions.json")
    assert len(record["cases"]["file0"]["figures"]["lamda"]) == 2
    better, plain = (_psnr(tmp_path / each / "file0.h5", source) for each in ("best", "plain"))
    assert better >= plain - 0.05


def test_undersampled_files_keep_their_mask_and_are_tuned_by_withheld_samples(tmp_path):
    mask = columns(48, every=3, acs=12)
    source = write_fastmri(tmp_path / "u.h5", multi_coil(size=(48, 48)) * mask, mask=mask)
    answer = _predict(source, tmp_path / "out", "method=cg_sense", "tune=withheld")
    assert answer.exit_code == 0
    stored = np.load(next((tmp_path / "out").rglob("u.npy")))
    assert (stored == mask).all()
    refused = _predict(source, tmp_path / "oracle", "method=cg_sense", "tune=oracle_ssim")
    assert refused.exit_code == 3
    assert "take tune=withheld" in refused.facts["failed"]["u"]


def test_bad_files_are_named_and_the_others_done(brains, tmp_path):
    (brains / "cut.h5").write_bytes((brains / "file0.h5").read_bytes()[:5000])
    answer = _predict(brains, tmp_path / "out", "method=sense", *SAMPLING)
    assert answer.exit_code == 3
    assert sorted(answer.facts["done"]) == ["file0", "file1"]
    assert "cut.h5: cut off" in answer.facts["failed"]["cut"]


def test_the_same_command_again_skips_what_is_there(brains, tmp_path):
    _predict(brains, tmp_path / "out", "method=sense", *SAMPLING)
    again = _predict(brains, tmp_path / "out", "method=sense", *SAMPLING)
    assert sorted(again.facts["skipped"]) == ["file0", "file1"]
    other = _predict(brains, tmp_path / "out", "method=cg_sense", *SAMPLING)
    assert sorted(other.facts["done"]) == ["file0", "file1"]


def test_another_methods_volumes_never_go_by_its_name(brains, tmp_path):
    _predict(brains, tmp_path / "out", "method=sense", *SAMPLING)
    one = brains / "file0.h5"
    with pytest.raises(UsageError, match=r"sense of baseline made .*\(file1\).*--force"):
        _predict(one, tmp_path / "out", "method=zero_filled", *SAMPLING)
    assert read_json(tmp_path / "out" / "predictions.json")["method"] == "sense"
    _predict(one, tmp_path / "out", "method=zero_filled", *SAMPLING, force=True)
    record = read_json(tmp_path / "out" / "predictions.json")
    assert (record["method"], list(record["cases"])) == ("zero_filled", ["file0"])


def test_a_slice_that_one_volume_lacks_costs_no_other(brains, tmp_path):
    fastmri_file(brains / "long.h5", seed=7, slices=4, size=(48, 48), recon_size=(40, 40))
    answer = _predict(brains, tmp_path / "out", "method=zero_filled", "slices=[3]", *SAMPLING)
    assert (answer.exit_code, answer.facts["done"]) == (3, ["long"])
    assert "has slices 0 to 1" in answer.facts["failed"]["file0"]
    nothing = _predict(brains, tmp_path / "none", "method=zero_filled", "slices=[9]", *SAMPLING)
    assert (nothing.exit_code, nothing.next_command) == (3, ())


def test_the_same_methods_other_volumes_stay(brains, tmp_path):
    for name in ("file0", "file1"):
        _predict(brains / f"{name}.h5", tmp_path / "out", "method=sense", *SAMPLING)
    assert list(read_json(tmp_path / "out" / "predictions.json")["cases"]) == ["file0", "file1"]


def test_a_stated_acceleration_leaves_padding_out(tmp_path):
    padding = (2, 6)
    source = fastmri_file(tmp_path / "a.h5", size=(48, 80), recon_size=(40, 40), padding=padding)
    _predict(source, tmp_path / "out", "method=zero_filled", *SAMPLING)
    mask = np.load(next((tmp_path / "out").rglob("a.npy")))
    stated = read_json(tmp_path / "out" / "predictions.json")["cases"]["a"]["acceleration"]
    assert stated == pytest.approx((80 - sum(padding)) / mask[0].sum(), abs=1e-3)


def test_what_a_header_lacks_is_said(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("medssm.core.log.LOGGER.propagate", True)
    source = fastmri_file(tmp_path / "a.h5", size=(48, 48), recon_size=(40, 40))
    with h5py.File(source, "a") as file:
        del file["ismrmrd_header"]
    with caplog.at_level("INFO", logger="medssm"):
        _predict(source, tmp_path / "out", "method=zero_filled", *SAMPLING)
    assert "no ismrmrd_header" in caplog.text


def test_calgary_campinas_goes_the_same_way(tmp_path):
    source = calgary_file(tmp_path / "e1s1_P1.7.h5", slices=1, coils=4)
    words = ("method=cg_sense", "sampling.masks=[poisson]", "sampling.center_fractions=[0.04]")
    answer = _predict(source, tmp_path / "out", *words)
    assert answer.exit_code == 0, answer.facts["failed"]
    found = read_reconstruction(tmp_path / "out" / "e1s1_P1.7.h5")["reconstruction"]
    assert found.shape == (1, 218, 170)


def test_wrong_words_are_answered_with_what_there_is(brains, tmp_path):
    for words, told in (
        (("method=grappa",), "there is no baseline 'grappa'"),
        (("method=sense", "options.lamda=1"), "sense has the options .none."),
        (("tune=oracle_psnr", "options.lamda=1"), "options and tune: take one"),
        (("lamda=1",), "predict baseline has no argument 'lamda'"),
    ):
        with pytest.raises(UsageError, match=told):
            _predict(brains, tmp_path / "out", *words)


def test_the_word_baseline_means_no_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_baseline(Path("baseline"))
    (tmp_path / "baseline").mkdir()
    assert not is_baseline(Path("baseline"))
