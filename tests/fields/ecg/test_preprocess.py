"""Preprocessing: what becomes of a signal, and a store that survives a kill."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.core.files import TEMPORARY_MARK
from medssm.data.ecg.classes import challenge_classes
from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.read import read_record
from medssm.data.ecg.signal import Signal
from medssm.data.ecg.synthetic import make_synthetic_records
from medssm.fields.ecg.imports import import_ecg
from medssm.fields.ecg.plan_file import EcgPlan
from medssm.fields.ecg.preprocess import ensure_preprocessed, preprocess_ecg, preprocess_signal
from medssm.runs.field import ImportRequest, StudyRequest
from tests.support import ecg_files as files
from tests.support.ecg_files import signal, write_record

PLAN = EcgPlan("D", "s", "challenge2021", challenge_classes(2021), rate_hz=100.0)


def _signal(millivolts, leads=LEADS, rate_hz=500.0):
    return Signal("r", np.asarray(millivolts, np.float32), tuple(leads), rate_hz)


def _sine(hz, rate_hz=500.0, seconds=10.0):
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.tile(np.sin(2 * np.pi * hz * time), (12, 1))


@pytest.mark.parametrize("rate_hz", [500.0, 1000.0, 257.0, 360.0, 100.0])
def test_resampling_keeps_frequency_and_voltage(rate_hz):
    made = preprocess_signal(_signal(_sine(5.0, rate_hz), rate_hz=rate_hz), PLAN).signal
    assert made.shape == (12, 1000)
    expected = _sine(5.0, 100.0)
    middle = slice(50, 950)
    np.testing.assert_allclose(made[:, middle], expected[:, middle], atol=0.02)


def test_each_lead_is_centred_on_its_median():
    offset = np.linspace(-2, 2, 12)[:, None]
    made = preprocess_signal(_signal(signal() + offset), PLAN).signal
    np.testing.assert_allclose(np.median(made, axis=1), 0, atol=1e-4)


def test_a_short_gap_is_bridged_and_a_long_one_masked():
    values = _sine(1.0)
    values[0, 1000:1200] = np.nan
    values[1, 1000:2000] = np.nan
    made = preprocess_signal(_signal(values), PLAN)
    assert np.isfinite(made.signal).all()
    assert made.valid[0].all()
    assert not made.valid[1, 201:399].any()
    assert (made.signal[1, 201:399] == 0).all()
    assert made.valid[2].all()


def test_absent_and_dead_leads_are_zero_and_said_to_be_absent():
    values = signal()
    values[4] = np.nan
    made = preprocess_signal(_signal(np.delete(values, 9, 0), np.delete(LEADS, 9)), PLAN)
    assert np.flatnonzero(~made.present).tolist() == [4, 9]
    assert not made.signal[[4, 9]].any()
    assert made.signal[[0, 11]].any(axis=1).all()


def test_too_few_leads_are_refused():
    with pytest.raises(BadDataError, match="min_leads"):
        preprocess_signal(_signal(signal()[:3], LEADS[:3]), replace(PLAN, min_leads=8))


def test_fixed_scale_keeps_millivolts_and_clips():
    made = preprocess_signal(_signal(40 * _sine(1.0)), PLAN).signal
    assert (made.max(), made.min()) == (5.0, -5.0)
    low = preprocess_signal(_signal(0.1 * _sine(1.0)), PLAN).signal
    assert abs(low.max() - 0.1) < 2e-3


@pytest.mark.parametrize("scale", ["lead", "record"])
def test_standardising_gives_unit_spread(scale):
    values = _sine(1.0) * np.linspace(0.2, 2, 12)[:, None]
    made = preprocess_signal(_signal(values), replace(PLAN, scale=scale)).signal
    spread = made.std(axis=1) if scale == "lead" else made.std()
    np.testing.assert_allclose(spread, 1, atol=0.01)


def test_a_dead_lead_is_no_matter_to_standardising():
    values = signal()
    values[3] = np.nan
    for scale in ("lead", "record"):
        made = preprocess_signal(_signal(values), replace(PLAN, scale=scale))
        assert np.isfinite(made.signal).all()
        assert not made.signal[3].any()


def test_the_band_pass_takes_wander_and_keeps_the_heart():
    plan = replace(PLAN, bandpass_hz=(0.5, 40.0))
    made = preprocess_signal(_signal(_sine(8.0) + 0.8 * _sine(0.1)), plan).signal
    middle = slice(200, 800)
    np.testing.assert_allclose(made[:, middle], _sine(8.0, 100.0)[:, middle], atol=0.06)


def test_the_notch_takes_mains():
    plan = replace(PLAN, rate_hz=500.0, notch_hz=50.0)
    made = preprocess_signal(_signal(_sine(8.0) + 0.5 * _sine(50.0)), plan).signal
    middle = slice(1000, 4000)
    np.testing.assert_allclose(made[:, middle], _sine(8.0)[:, middle], atol=0.03)


def test_filters_take_short_records():
    plan = replace(PLAN, bandpass_hz=(0.5, 40.0), notch_hz=20.0)
    made = preprocess_signal(_signal(signal()[:, :500]), plan)
    assert made.signal.shape == (12, 100)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr("medssm.fields.ecg.preprocess.SHARD_RECORDS", 4)


def _study(tmp_path, count=6, *overrides, **more):
    source, home = tmp_path / "source", tmp_path / "home"
    if not source.is_dir():
        make_synthetic_records(source, count)
    answer = import_ecg(ImportRequest("ecg", source, home))
    return StudyRequest(answer.facts["dataset"], home, overrides, **more)


def _shards(request):
    folder = request.home / "preprocessed" / request.dataset / "signals"
    return sorted(folder.glob("[!.]*.npy"))


def test_the_store_holds_what_preparing_gives(tmp_path):
    store, _ = ensure_preprocessed(_study(tmp_path))
    assert len(store.records) == 6
    for name in list(store.records)[::3]:
        raw = read_record(tmp_path / "source" / f"{name}.hea")
        made = preprocess_signal(raw, store.plan)
        np.testing.assert_array_equal(store.signal(name), made.signal)
        assert store.present(name).all()


def test_a_killed_run_makes_only_what_is_missing(tmp_path):
    request = _study(tmp_path)
    before = ensure_preprocessed(request)[0]
    kept, lost = _shards(request)
    expected = np.array(before.signal(list(before.records)[-1]))
    lost.with_suffix(".json").unlink()
    lost.write_bytes(b"half")
    (lost.parent / f"{TEMPORARY_MARK}12345678-x.npy").write_bytes(b"half")
    scratch = lost.parent.parent / ".scratch-x"
    scratch.mkdir()
    time = kept.stat().st_mtime_ns
    after, _ = ensure_preprocessed(request)
    assert kept.stat().st_mtime_ns == time
    np.testing.assert_array_equal(after.signal(list(after.records)[-1]), expected)
    assert len(list(lost.parent.iterdir())) == 4
    assert not scratch.exists()


def test_nothing_is_done_twice(tmp_path):
    request = _study(tmp_path, 5)
    preprocess_ecg(request)
    times = [path.stat().st_mtime_ns for path in _shards(request)]
    preprocess_ecg(request)
    assert [path.stat().st_mtime_ns for path in _shards(request)] == times
    preprocess_ecg(replace(request, force=True))
    assert [path.stat().st_mtime_ns for path in _shards(request)] != times


def test_another_rate_has_shards_of_its_own(tmp_path):
    slow, _ = ensure_preprocessed(_study(tmp_path, 4, "planner.folds=2"))
    fast, _ = ensure_preprocessed(_study(tmp_path, 4, "planner.folds=2", "planner.rate_hz=250"))
    name = next(iter(fast.records))
    assert (slow.signal(name).shape, fast.signal(name).shape) == ((12, 1000), (12, 2500))


def test_a_changed_record_is_prepared_again(tmp_path):
    request = _study(tmp_path, 5, "planner.folds=2")
    store, _ = ensure_preprocessed(request)
    name = next(iter(store.records))
    old = np.array(store.signal(name))
    files.write_record(tmp_path / "source", name, signal(99))
    store, _ = ensure_preprocessed(request)
    assert not np.array_equal(store.signal(name), old)


def test_records_with_too_few_leads_are_left_out_by_name(tmp_path):
    make_synthetic_records(tmp_path / "source", 4)
    files.write_dat(tmp_path / "source", "two", signal()[:2], lead_names=LEADS[:2])
    request = _study(tmp_path, 4, "planner.min_leads=7", "planner.folds=2")
    answer = preprocess_ecg(request)
    assert (answer.exit_code, answer.facts["skipped"], answer.facts["records"]) == (3, 1, 4)
    table = (tmp_path / "home" / "preprocessed" / request.dataset / "findings.csv").read_text()
    assert "two,two.hea,too_few_leads,error,6 leads" in table


def test_workers_give_the_same_store(tmp_path):
    request = _study(tmp_path, 6, "planner.workers=2")
    parallel, _ = ensure_preprocessed(request)
    names = list(parallel.records)
    many = [np.array(parallel.signal(name)) for name in names[::3]]
    alone, _ = ensure_preprocessed(replace(request, overrides=("planner.workers=1",), force=True))
    for name, made in zip(names[::3], many, strict=True):
        np.testing.assert_array_equal(alone.signal(name), made)


def test_a_store_passes_between_processes_without_its_signals(tmp_path):
    store, _ = ensure_preprocessed(_study(tmp_path, 4, "planner.folds=2"))
    name = next(iter(store.records))
    store.signal(name)
    sent = pickle.dumps(store)
    assert len(sent) < 20_000
    np.testing.assert_array_equal(pickle.loads(sent).signal(name), store.signal(name))


def test_a_long_record_is_prepared_in_spans_without_a_seam(tmp_path):
    make_synthetic_records(tmp_path / "source", 4)
    rng = np.random.default_rng(0)
    long = np.tile(signal(), (1, 70)) + 0.01 * rng.standard_normal((12, 350_000)).astype(np.float32)
    header = write_record(tmp_path / "source", "holter", long)
    store, _ = ensure_preprocessed(_study(tmp_path, 4, "planner.folds=2"))
    whole = preprocess_signal(read_record(header), store.plan).signal
    made = store.signal("holter")
    assert made.shape == (12, 70_000)
    # only the median of a span differs from that of the whole
    difference = made - whole
    assert np.abs(difference).max() < 0.02
    assert np.abs(np.diff(difference, axis=1)).max() < 0.02
    assert store.records["holter"].seconds == 700


def test_a_silent_span_of_a_long_record_is_zeros(tmp_path):
    make_synthetic_records(tmp_path / "source", 4)
    long = np.tile(signal(), (1, 100))
    long[:, 150_000:300_000] = np.nan
    write_record(tmp_path / "source", "holter", long)
    store, _ = ensure_preprocessed(_study(tmp_path, 4, "planner.folds=2"))
    made = store.signal("holter")
    assert made.shape == (12, 100_000)
    assert not made[:, 31_000:59_000].any()
    assert made[:, 65_000:].any()
