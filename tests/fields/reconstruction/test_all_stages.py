"""Files in the public layouts go through every stage by the command line."""

import json

import h5py
import numpy as np
import pytest

from medssm.cli.main import main
from medssm.core.files import read_json
from medssm.data.kspace_writers import read_reconstruction, write_fastmri
from tests.support.kspace import calgary_file, columns, fastmri_file, multi_coil

TINY = ("network.num_steps=2", "network.hidden_channels=4", "trainer.max_epochs=1",
        "trainer.steps_per_epoch=2", "held_back=1")  # fmt: skip


def _run(capsys, *words):
    code = main([*map(str, words), "--json", "-q"])
    answer = json.loads(capsys.readouterr().out)
    return code, answer


def _fastmri(folder):
    for seed in range(3):
        fastmri_file(folder / f"file{seed}.h5", seed=seed, size=(48, 40))
    return "sampling.center_fractions=[0.2]", (2, 32, 32)


def _calgary(folder):
    for seed in range(2):
        calgary_file(folder / f"e{seed}s1_P{seed}.7.h5", seed=seed, slices=1, coils=2)
    return "sampling.masks=[poisson]", (1, 218, 170)


def _single_coil(folder):
    for seed in range(2):
        kspace = multi_coil(slices=2, coils=1, size=(48, 40), seed=seed)[:, 0]
        write_fastmri(folder / f"knee{seed}.h5", kspace, patient_id=f"p{seed}")
    return "sampling.center_fractions=[0.2]", (2, 48, 40)


def _odd(folder):
    for seed in range(2):
        np.save(folder / f"odd{seed}.npy", multi_coil(slices=1, size=(43, 37), seed=seed))
    return "sampling.center_fractions=[0.2]", (1, 43, 37)


@pytest.mark.parametrize("make", [_fastmri, _calgary, _single_coil, _odd])
def test_public_layouts_go_through_all_stages(make, tmp_path, capsys):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    sampling, shape = make(source)
    code, answer = _run(capsys, "import", "kspace", source, "--home", home)
    assert code == 0
    name = answer["dataset"]
    for verb in ("plan", "preprocess"):
        code, answer = _run(capsys, verb, name, "--home", home)
        assert code == 0, answer
    code, answer = _run(capsys, "train", name, "--home", home, sampling, *TINY)
    assert code == 0, answer
    model, output = answer["model"], tmp_path / "out"
    code, answer = _run(capsys, "predict", model, "-i", source, "-o", output)
    assert code == 0, answer
    for case in answer["done"]:
        found = read_reconstruction(output / f"{case}.h5")["reconstruction"]
        assert found.shape == shape
    code, answer = _run(capsys, "evaluate", output)
    assert code == 0, answer
    assert set(answer["mean"]) == {"zero_filled", "recurrent_varnet"}
    assert (output / "evaluation" / "report.html").is_file()


def test_undersampled_files_alone_go_through_all_stages(tmp_path, capsys):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    mask = columns(40, every=3, acs=12)
    for seed in range(2):
        write_fastmri(source / f"u{seed}.h5", multi_coil(seed=seed) * mask, mask=mask)
    words = ("simulation.size=[48,40]", "simulation.rows=0", "sampling.center_fractions=[0.2]")
    code, answer = _run(capsys, "train", source, "--home", home, *words, *TINY,
                        "preprocess.method=cg_sense")  # fmt: skip
    assert code == 0, answer
    code, made = _run(capsys, "predict", answer["model"], "-i", source, "-o", tmp_path / "out")
    assert code == 0, made
    code, answer = _run(capsys, "evaluate", tmp_path / "out", "baselines=[cg_sense]")
    assert code == 0, answer
    assert set(answer["withheld_error"]) == {"recurrent_varnet", "cg_sense"}


def test_bad_files_cost_no_others_at_any_stage(tmp_path, capsys):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    sampling, _ = _fastmri(source)
    with h5py.File(fastmri_file(source / "nan.h5", size=(48, 40)), "r+") as file:
        file["kspace"][1, 0, 0, 20] = np.nan
    (source / "cut.h5").write_bytes((source / "file0.h5").read_bytes()[:9000])
    code, answer = _run(capsys, "plan", source, "--home", home)
    assert code == 3
    told = json.dumps(answer)
    assert "nan.h5" in told
    assert "cut.h5" in told
    code, answer = _run(capsys, "train", source, "--home", home, "--skip-bad", sampling, *TINY)
    assert code == 0, answer
    model = answer["model"]
    splits = read_json(next(home.glob("preprocessed/*/splits.json")))
    assert {case for fold in splits for case in fold["train"]} == {"file0", "file1", "file2"}
    code, answer = _run(capsys, "predict", model, "-i", source, "-o", tmp_path / "out")
    assert code == 3
    assert sorted(answer["failed"]) == ["cut", "nan"]
    assert sorted(answer["done"]) == ["file0", "file1", "file2"]
    code, answer = _run(capsys, "evaluate", tmp_path / "out")
    assert code == 3
    assert sorted(answer["failed"]) == ["cut", "nan"]
    assert answer["cases"] == 3
    words = ("baseline", "-i", source, "-o", tmp_path / "zf", "method=zero_filled", sampling)
    code, answer = _run(capsys, "predict", *words)
    assert code == 3
    assert sorted(answer["done"]) == ["file0", "file1", "file2"]
    code, answer = _run(capsys, "evaluate", tmp_path / "out", "--against", tmp_path / "zf")
    assert answer["against"]["method"] == "zero_filled"
