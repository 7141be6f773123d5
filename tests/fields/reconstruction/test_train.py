import json

import numpy as np
import pytest
import torch

from medssm.core.errors import UsageError
from medssm.fields.reconstruction.demo import make_scans
from medssm.fields.reconstruction.model_folder import open_model
from medssm.fields.reconstruction.stages import FIELD
from medssm.fields.reconstruction.story import train_config
from medssm.runs.field import EvaluateRequest, ImportRequest, PredictRequest, StudyRequest

SIZE = (40, 32)
TINY = (
    "network.num_steps=2", "network.hidden_channels=4", "trainer.steps_per_epoch=4",
    "trainer.max_epochs=1", "trainer.workers=0", "trainer.threads=1", "held_back=2",
    f"simulation.size=[{SIZE[0]},{SIZE[1]}]", "sampling.accelerations=[3]",
    "sampling.center_fractions=[0.2]", "optimizer.lr=0.003",
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A home folder with a small data set of two fully sampled scans of two patients."""
    folder = tmp_path_factory.mktemp("study")
    make_scans(folder / "scans", 2, seed=0, size=SIZE, slices=2)
    FIELD.import_dataset(ImportRequest("kspace", folder / "scans", folder / "home", "Dataset001_S"))
    return folder


def _train(study, *words):
    return FIELD.train(StudyRequest("1", study / "home", (*TINY, *words)))


@pytest.mark.parametrize("supervision", ["measured", "simulated", "self"])
def test_every_supervision_trains_a_model_that_predicts(study, supervision):
    words = (f"supervision={supervision}", "simulation.phantoms=1.0")
    answer = _train(study, *words)
    model = open_model(answer.written[0])
    assert model.content["supervision"] == supervision
    scores = answer.facts["folds"]["fold_0"]
    assert np.isfinite(scores["withheld_error" if supervision == "self" else "ssim"])
    output = study / f"out_{supervision}"
    made = FIELD.predict(
        PredictRequest(model.folder, study / "scans", output, study / "home", ("slices=[0]",))
    )
    assert made.exit_code == 0
    assert sorted(made.facts["cases"]) == ["phantom_000", "phantom_001"]


def test_training_lowers_the_loss_of_one_slice(study):
    answer = _train(
        study, "run=overfit", "trainer.max_epochs=2", "trainer.steps_per_epoch=30",
        "simulation.phantoms=1.0", "supervision=simulated", "network.hidden_channels=8",
    )  # fmt: skip
    rows = (answer.written[0] / "fold_0" / "metrics.csv").read_text().splitlines()
    losses = [float(row.split(",")[rows[0].split(",").index("train_loss")]) for row in rows[1:]]
    assert losses[-1] < 0.9 * losses[0]


def test_the_same_seed_gives_the_same_weights(study):
    first, second = (_train(study, f"run=again{n}", "simulation.phantoms=1.0",
                            "supervision=simulated").written[0] for n in range(2))  # fmt: skip
    a, b = (open_model(each).network().state_dict() for each in (first, second))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_prediction_stands_until_something_changes(study):
    model = _train(study, "supervision=simulated", "simulation.phantoms=1.0", "run=p").written[0]
    request = PredictRequest(model, study / "scans", study / "stands", study / "home")
    first = FIELD.predict(request)
    assert FIELD.predict(request).facts["skipped"] == ["phantom_000", "phantom_001"]
    changed = PredictRequest(
        model, study / "scans", study / "stands", study / "home", ("consistency=hard",)
    )
    assert FIELD.predict(changed).facts["skipped"] == []
    assert first.facts["cases"]["phantom_000"]["acceleration"] == pytest.approx(3, rel=0.07)


def test_uncertainty_and_scores_come_with_a_report(study):
    model = _train(study, "supervision=simulated", "simulation.phantoms=1.0", "run=u").written[0]
    output = study / "uncertain"
    words = ("uncertainty=masks", "replicas=3", "slices=[0]")
    FIELD.predict(PredictRequest(model, study / "scans", output, study / "home", words))
    answer = FIELD.evaluate(EvaluateRequest(output, None, None, None, study / "home"))
    assert 0 < answer.facts["score"] <= 1
    assert (output / "evaluation" / "report.html").is_file()


def test_hard_consistency_puts_the_measured_samples_back(study):
    model = _train(study, "supervision=simulated", "simulation.phantoms=1.0", "run=h").written[0]
    from medssm.data.kspace_writers import read_reconstruction
    from medssm.data.readers.kspace import open_kspace
    from medssm.fields.reconstruction.simulation import to_kspace

    output = study / "hard"
    words = ("consistency=hard", "sampling.accelerations=[1]", "sampling.center_fractions=[0.5]")
    FIELD.predict(PredictRequest(model, study / "scans", output, study / "home", words))
    found = read_reconstruction(output / "phantom_000.h5")["reconstruction"][0]
    kspace = open_kspace(study / "scans" / "phantom_000.h5").read(0)
    axes = (-2, -1)
    images = np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes
    )
    assert np.abs(found - np.sqrt((np.abs(images) ** 2).sum(0))).max() < 1e-4
    assert to_kspace(images).shape == kspace.shape


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("sampling.masks=[poison]", "did you mean 'poisson'"),
        ("sampling.accelerations=[0.5]", "expected 1 or more"),
        ("sampling.file=nowhere.npy", "there is no such file"),
        ("split.hidden=1.5", "expected between 0 and 1"),
        ("simulation.coils=[4,2]", "simulation.coils"),
        ("supervision=measure", "expected one of"),
        ("network.hidden_chanels=3", None),
    ],
)
def test_slips_are_answered(word, answer):
    if answer is None:
        assert "hidden_chanels" in json.dumps(train_config([word]).network)
        return
    with pytest.raises(UsageError, match=answer):
        train_config([word])


def test_a_calibrated_model_states_other_deviations(study):
    model = _train(study, "supervision=simulated", "simulation.phantoms=1.0", "run=c").written[0]
    words = ("uncertainty=masks", "replicas=3", "consistency=soft")
    request = PredictRequest(model, study / "scans", study / "spread", study / "home", words)
    FIELD.predict(request)
    told = FIELD.evaluate(
        EvaluateRequest(study / "spread", None, None, None, study / "home", ("calibrate=true",))
    )
    factor = told.facts["calibration_factor"]
    assert factor["patients"] == 2
    assert any("calibrated" in line for line in told.lines)
    again = FIELD.predict(request)
    assert again.facts["skipped"] == []
    after = FIELD.evaluate(EvaluateRequest(study / "spread", None, None, None, study / "home"))
    assert after.facts["calibration"]["within_2"] == pytest.approx(0.95, abs=0.05)
    assert told.facts["calibration"]["within_2"] < 0.9
    with pytest.raises(UsageError, match="calibrated already"):
        FIELD.evaluate(
            EvaluateRequest(study / "spread", None, None, None, study / "home", ("calibrate=true",))
        )
