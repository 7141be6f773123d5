"""Export: the program gives the calibrated probabilities that predict gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medssm.bundle import case_programs
from medssm.core.errors import MedssmError, UsageError
from medssm.core.files import read_json, write_json
from medssm.data.ecg.classes import challenge_classes
from medssm.fields.ecg.calibration import Calibration
from medssm.fields.ecg.export import CalibratedMean, export
from medssm.fields.ecg.model_folder import CALIBRATION, open_model, write_model_folder
from medssm.fields.ecg.plan_file import EcgPlan
from medssm.fields.ecg.windows import WindowPlan
from medssm.networks import ECG_NETWORKS
from medssm.runs.field import ExportRequest
from medssm.training.checkpoints import WEIGHTS, write_weights

NETWORK = {
    "name": "ecg_mamba", "out_channels": 3, "length": 64, "width": 16, "depth": 1,
    "stem_widths": [8, 8, 16], "mixer": {"name": "vim", "state": 4},
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    classes = challenge_classes(2021)[:3]
    plan = EcgPlan("d", "s", "challenge2021", classes, rate_hz=6.4)
    folder = tmp_path / "model"
    for fold in range(2):
        torch.manual_seed(fold)
        network = ECG_NETWORKS.build(**NETWORK)
        write_model_folder(folder, f"fold_{fold}", NETWORK, plan, "Dataset001_D")
        write_weights(folder / f"fold_{fold}" / WEIGHTS, network.state_dict())
        made = Calibration(np.array([0.5, 1, 2]), np.array([fold, 0, -1.0]), np.full(3, 0.3))
        write_json(folder / f"fold_{fold}" / CALIBRATION, made.plain())
    return folder


def _expected(model: Path, x: torch.Tensor) -> np.ndarray:
    reader = open_model(model).reader(torch.device("cpu"))
    about = [(float("nan"), float("nan"))] * len(x)
    return np.array(reader.records(list(x.numpy()), about, WindowPlan(64)))


def test_the_module_gives_the_mean_of_the_calibrated_folds(model: Path) -> None:
    x = torch.randn(3, 12, 64)
    with torch.no_grad():
        found = CalibratedMean(open_model(model)).eval()(x)
    np.testing.assert_allclose(found.numpy(), _expected(model, x), atol=1e-6)


def test_a_program_answers_as_predict_does_in_any_batch(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.pt2"
    answer = export(ExportRequest(model, file, "pt2", tmp_path))
    assert answer.facts["largest_difference"] < 1e-5
    program = torch.export.load(file).module()
    for batch in (1, 5):
        x = torch.randn(batch, 12, 64)
        with torch.no_grad():
            np.testing.assert_allclose(program(x).numpy(), _expected(model, x), atol=1e-5)
    beside = read_json(tmp_path / "m.pt2.json")
    assert [each["threshold"] for each in beside["classes"]] == [0.3] * 3
    assert beside["leads"][0] == "I"


def test_weights_of_one_fold(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    export(ExportRequest(model, file, "safetensors", tmp_path, overrides=("folds=[1]",)))
    state = load_file(file)
    assert state["shift"].tolist() == [[1, 0, -1]]
    assert not any(key.startswith("networks.1.") for key in state)


def test_other_kinds_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="safetensors"):
        export(ExportRequest(model, tmp_path / "b", "nnunet", tmp_path))


def test_a_file_that_is_there_stays_unless_asked(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="--force"):
        export(ExportRequest(model, file, "safetensors", tmp_path))
    assert file.read_text(encoding="utf-8") == "mine"
    export(ExportRequest(model, file, "safetensors", tmp_path, force=True))
    assert "shift" in load_file(file)


def test_a_program_that_answers_otherwise_is_not_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_programs, "TOLERANCE", -1.0)
    with pytest.raises(MedssmError, match="not kept"):
        export(ExportRequest(model, tmp_path / "m.pt2", "pt2", tmp_path))
    assert not list(tmp_path.glob("m.pt2*"))
