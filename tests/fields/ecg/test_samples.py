"""Training windows: pure functions of (seed, epoch, index), and what may change in them."""

import numpy as np
import pytest
import torch

from medssm.core.errors import UsageError
from medssm.data.ecg.classes import challenge_classes
from medssm.fields.ecg.plan_file import EcgPlan
from medssm.fields.ecg.records import EcgRecord
from medssm.fields.ecg.samples import WindowSamples, change, crop
from medssm.fields.ecg.store import EcgStore
from medssm.fields.ecg.task import macro_areas
from medssm.fields.ecg.train_config import AugmentConfig
from medssm.training.order import SampleKey

STILL = dict.fromkeys(
    ("gain", "lead_dropout", "wander_mv", "mains_mv", "noise_mv", "mask_s", "stretch"), 0.0
)
CALM = AugmentConfig(**STILL)
WILD = AugmentConfig(mixup=0.5, mixed=1.0, mask_s=1, stretch=0.05, mains_mv=0.1, lead_sets=0.5)


class Shelf(EcgStore):
    """A store in memory."""

    def signal(self, name: str) -> np.ndarray:
        """A ramp of its own for every record."""
        number = int(name)
        return np.tile(np.arange(1, 150 + number, dtype=np.float32), (12, 1)) / 100 + number


def shelf(tmp_path, count: int = 7) -> Shelf:
    classes = challenge_classes(2021)[:3]
    records = {
        str(i): EcgRecord(str(i), f"{i}.hea", source="CPSC", age=30.0 + i, sex="female",
                          codes=(classes[i % 3].codes[0],), sha256=str(i), patient=str(i))
        for i in range(count)
    }  # fmt: skip
    plan = EcgPlan("d", "s", "challenge2021", classes, rate_hz=10.0, window_s=10.0)
    return Shelf(tmp_path, plan, [], records, {})


@pytest.mark.parametrize("augment", [CALM, AugmentConfig(), WILD])
def test_a_sample_is_a_function_of_its_place_alone(tmp_path, augment) -> None:
    store = shelf(tmp_path)
    first = WindowSamples(store, list(store.records), augment, seed=3)
    second = WindowSamples(store, list(store.records), augment, seed=3)
    _ = [second[SampleKey(0, index)] for index in range(5)]
    for key in (SampleKey(0, 4), SampleKey(3, 11), SampleKey(0, 2)):
        for name, value in first[key].items():
            torch.testing.assert_close(second[key][name], value, equal_nan=True)
    other = WindowSamples(store, list(store.records), augment, seed=4)
    assert not torch.equal(other[SampleKey(0, 4)]["signal"], first[SampleKey(0, 4)]["signal"])


def test_an_epoch_shows_every_record_once(tmp_path) -> None:
    store = shelf(tmp_path)
    samples = WindowSamples(store, list(store.records), CALM, seed=0)
    ages = [[float(samples[SampleKey(e, i)]["about"][0]) for i in range(7)] for e in range(3)]
    assert all(sorted(each) == [30 + i for i in range(7)] for each in ages)
    assert ages[0] != ages[1]


def test_classes_that_a_source_never_annotated_are_unknown(tmp_path) -> None:
    store = shelf(tmp_path)
    sample = WindowSamples(store, list(store.records), CALM, seed=0)[SampleKey(0, 0)]
    # CPSC annotates fibrillation, neither flutter nor bundle branch block
    assert sample["known"].tolist() == [1, 0, 0]


def test_a_crop_is_a_piece_and_a_short_record_ends_in_zeros() -> None:
    rng = np.random.default_rng(0)
    ramp = np.arange(1, 301, dtype=np.float32)[None]
    starts = {int(crop(ramp, 100, rng)[0, 0]) for _ in range(400)}
    assert min(starts) == 1
    assert max(starts) == 201
    short = crop(ramp[:, :40], 100, rng)
    assert short[0, 39] == 40
    assert not short[0, 40:].any()


def test_absent_leads_stay_absent_and_one_lead_always_stays() -> None:
    signal = np.ones((12, 100), np.float32)
    signal[5] = 0
    rng = np.random.default_rng(0)
    settings = AugmentConfig(lead_dropout=0.9, wander_mv=0.2, noise_mv=0.2)
    for _ in range(50):
        changed = change(signal, 10.0, settings, rng)
        assert not changed[5].any()
    alone = AugmentConfig(lead_dropout=0.9)
    alive = [change(np.ones((2, 50)), 10.0, alone, rng).any(1).sum() for _ in range(60)]
    assert min(alive) >= 1


def test_reduced_sets_keep_their_leads_only() -> None:
    settings = AugmentConfig(**STILL | {"lead_sets": 1.0})
    rng = np.random.default_rng(1)
    kept = {tuple(change(np.ones((12, 20)), 10.0, settings, rng).any(1)) for _ in range(40)}
    assert {sum(each) for each in kept} == {6, 4, 3, 2}


def test_without_changes_nothing_changes() -> None:
    signal = np.random.default_rng(0).normal(size=(12, 100)).astype(np.float32)
    changed = change(signal, 10.0, CALM, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, signal)


def test_a_mask_and_a_stretch_do_what_they_say() -> None:
    ramp = np.tile(np.arange(1, 201, dtype=np.float32), (12, 1))
    rng = np.random.default_rng(5)
    masked = change(ramp, 10.0, AugmentConfig(**STILL | {"mask_s": 5.0}), rng)
    gone = masked == 0
    assert (gone == gone[0]).all()
    assert 0 <= gone[0].sum() <= 50
    slow = change(ramp, 10.0, AugmentConfig(**STILL | {"stretch": 0.05}), rng)
    rates = np.diff(slow[0][:150])
    assert np.ptp(rates) < 1e-4
    assert 0.95 <= rates.mean() <= 1.05


@pytest.mark.parametrize(("key", "value"), [("stretch", 0.2), ("gain", -1), ("lead_dropout", 1.0)])
def test_ranges_are_held(key, value) -> None:
    with pytest.raises(UsageError, match=key):
        AugmentConfig(**{key: value})


def test_the_quick_validation_averages_over_known_classes_alone() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.9], [0.7, 0.3], [0.1, 0.2]])
    truth = np.array([[1, 0], [0, 1], [1, 0], [0, 0]])
    known = np.array([[1, 1], [1, 0], [1, 1], [1, 1]])
    found = macro_areas(scores, truth, known)
    assert found["auroc"] == 1.0
    assert found["auprc"] == 1.0
    assert macro_areas(scores, truth, known * 0) == {}
