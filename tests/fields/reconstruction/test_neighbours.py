"""Units that look along slices: batches are runs of one volume, in training and in prediction."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medssm.core.errors import UsageError
from medssm.fields.reconstruction.demo import make_scans
from medssm.fields.reconstruction.model_folder import open_model
from medssm.fields.reconstruction.neighbours import run_of, window
from medssm.fields.reconstruction.preparation import Preparation
from medssm.fields.reconstruction.samples import MeasuredSamples, SlicePlace, Stream
from medssm.fields.reconstruction.stages import FIELD
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.networks.recurrent_varnet import RecurrentVarNet
from medssm.runs.field import ImportRequest, PredictRequest, StudyRequest
from medssm.training.order import SampleKey

SIZE = (32, 24)
WORDS = (
    "network.unit=slice_scan", "network.num_steps=2", "network.hidden_channels=4",
    "trainer.steps_per_epoch=2", "trainer.max_epochs=1", "trainer.workers=0",
    "trainer.threads=1", "held_back=3", "sampling.accelerations=[3]",
    "sampling.center_fractions=[0.2]",
)  # fmt: skip


def _places(cases=3, slices=5):
    return [
        SlicePlace(Path(f"{name}.h5"), f"case{name}", index, (2, 8, 8))
        for name in range(cases)
        for index in range(slices)
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("along")
    make_scans(folder / "scans", 2, seed=0, size=SIZE, slices=4)
    FIELD.import_dataset(ImportRequest("kspace", folder / "scans", folder / "home", "Dataset001_S"))
    return folder


def test_a_run_lies_in_one_volume_in_order_and_meets_every_slice():
    places, seen = _places(), set()
    for seed in range(200):
        run = run_of(places, 3, np.random.default_rng(seed))
        assert len({each.case for each in run}) == 1
        assert [each.index for each in run] == list(range(run[0].index, run[0].index + 3))
        seen |= {(each.case, each.index) for each in run}
    assert len(seen) == 15


@pytest.mark.parametrize(
    ("index", "expected"), [(0, (0, 3)), (1, (0, 3)), (3, (2, 5)), (6, (4, 7))]
)
def test_a_window_has_its_slice_in_the_middle_where_it_can(index, expected):
    assert window(index, 7, 3) == expected


def test_a_volume_shorter_than_the_window_is_taken_whole():
    assert window(1, 2, 5) == (0, 2)
    assert window(4, 9, 1) == (4, 5)


def test_the_slices_of_a_batch_share_volume_and_mask(study):
    files = sorted((study / "scans").glob("*.h5"))
    places = [
        SlicePlace(file, file.stem, index, (6, *SIZE)) for file in files for index in range(4)
    ]
    stream = Stream(SamplingConfig(("random",), (3.0,), (0.2,)), Preparation(), 0)
    runs = []

    def noted(*words):
        runs.append(run_of(*words))
        return runs[-1]

    samples = MeasuredSamples(places, stream, 3, noted)
    for batch in range(4):
        made = [samples[SampleKey(0, 3 * batch + slot)] for slot in range(3)]
        assert runs[-1] == runs[-2] == runs[-3]
        assert all(torch.equal(each["mask"], made[0]["mask"]) for each in made)
        for place, each in zip(runs[-1], made, strict=True):
            expected = samples.slice(place, "any")["target"]
            assert torch.allclose(each["target"] / each["target"].max(),
                                  expected / expected.max(), atol=1e-6)  # fmt: skip
    assert samples.held_back(3)[0]["masked"].shape[:2] == (3, 6)


@pytest.mark.parametrize("supervision", ["measured", "self"])
def test_it_learns_and_predicts_with_its_neighbours(study, supervision, monkeypatch):
    words = (*WORDS, f"supervision={supervision}", "batch_size=3")
    answer = FIELD.train(StudyRequest("1", study / "home", words))
    model = open_model(answer.written[0])
    assert model.content["slices_at_once"] == 3
    request = PredictRequest(
        model.folder, study / "scans", study / supervision, study / "home",
        ("consistency=soft", "withheld=0"),
    )  # fmt: skip
    seen = []
    forward = RecurrentVarNet.forward
    monkeypatch.setattr(
        RecurrentVarNet, "forward", lambda self, *x: seen.append(len(x[0])) or forward(self, *x)
    )
    assert FIELD.predict(request).exit_code == 0
    assert seen == [3] * 8


def test_simulated_strips_have_no_neighbours(study):
    with pytest.raises(UsageError, match="no neighbours"):
        FIELD.train(
            StudyRequest("1", study / "home", (*WORDS, "supervision=simulated", "batch_size=2"))
        )


def test_a_batch_longer_than_a_volume_is_refused(study):
    with pytest.raises(UsageError, match="has 4 slices"):
        FIELD.train(
            StudyRequest("1", study / "home", (*WORDS, "supervision=measured", "batch_size=5"))
        )
