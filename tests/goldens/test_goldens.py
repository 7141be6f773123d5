import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.goldens.harness import find_cases, known, run_case

HERE = Path(__file__).parent
KNOWN = [file for file in find_cases(HERE) if known(file)]


@pytest.mark.golden
@pytest.mark.parametrize("file", KNOWN, ids=lambda file: file.stem)
def test_ours_equals_the_official_output(file: Path) -> None:
    verdict = run_case(file)
    assert verdict.passed, verdict.row()


def test_every_case_of_the_segmentation_networks_has_a_builder() -> None:
    assert set(find_cases(HERE / "segmodels")) <= set(KNOWN)


def test_every_case_of_the_electrocardiogram_has_a_runner() -> None:
    # the records of the scorers lie in the shared folder only
    cases = {file for file in (HERE / "ecg").glob("*.json") if known(file)}
    assert cases == set((HERE / "ecg").glob("*.json"))
    assert {file for file in cases if file.with_suffix(".npz").exists()} <= set(KNOWN)


def test_every_case_of_reconstruction_has_a_runner() -> None:
    assert set((HERE / "recon").glob("*.json")) <= set(KNOWN)


def _copy(stem: str, folder: Path, **changes: object) -> Path:
    case = json.loads((HERE / "segmodels" / f"{stem}.json").read_text()) | changes
    file = folder / f"{stem}.json"
    file.write_text(json.dumps(case))
    file.with_suffix(".npz").write_bytes((HERE / "segmodels" / f"{stem}.npz").read_bytes())
    return file


def test_a_wrong_stored_value_is_a_miss(tmp_path: Path) -> None:
    file = _copy("lightm_rvm_layer", tmp_path)
    stored = dict(np.load(file.with_suffix(".npz")))
    stored["output_sample"] = stored["output_sample"].copy()
    stored["output_sample"][17] += 1e-3
    np.savez(file.with_suffix(".npz"), **stored)
    verdict = run_case(file)
    assert not verdict.passed
    assert verdict.error == pytest.approx(1e-3, rel=0.1)


def test_another_number_of_parameters_is_a_miss(tmp_path: Path) -> None:
    verdict = run_case(_copy("lightm_rvm_layer", tmp_path, parameters=12098))
    assert not verdict.passed
    assert verdict.note == "12097 parameters, the official module has 12098"


def test_the_command_names_an_unknown_case_and_exits_non_zero(tmp_path: Path) -> None:
    _copy("lightm_rvm_layer", tmp_path)
    _copy("lightm_3d_small", tmp_path, builds="NobodyKnowsNet")
    command = [sys.executable, "-m", "tests.goldens", str(tmp_path)]
    answer = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=HERE.parents[1]
    )
    assert answer.returncode == 1
    assert "NobodyKnowsNet" in answer.stdout
    assert "1 of 2 cases pass" in answer.stdout
    alone = subprocess.run(
        [*command, "--case", "lightm_rvm_layer"],
        check=False,
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
    )
    assert alone.returncode == 0, alone.stdout + alone.stderr
