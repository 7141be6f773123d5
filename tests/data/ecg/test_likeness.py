"""Copies of a recording are told although rate and rounding differ; other hearts are not."""

import numpy as np
from scipy.signal import resample_poly

from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.likeness import candidates, outline, same_recording
from medssm.data.ecg.read import find_records, read_record
from medssm.data.ecg.signal import Signal
from tests.support.ecg_files import signal
from tests.support.shared import shared_folder


def _signals(**values):
    return {
        name: Signal(name, each, LEADS, 100.0 if name == "slow" else 500.0)
        for name, each in values.items()
    }


def _told(signals):
    outlines = {n: outline(s.millivolts, s.leads, s.rate_hz) for n, s in signals.items()}
    pairs = candidates(outlines)
    return [(a, b) for a, b in pairs if same_recording(signals[a], signals[b])]


def test_another_rounding_and_another_rate_are_the_same_recording():
    original = signal(3)
    signals = _signals(
        original=original,
        rounded=np.round(original * 200) / 200,
        slow=resample_poly(original, 1, 5, axis=1),
        nothing=original * 0,
        other=signal(4),
    )
    assert _told(signals) == [("original", "rounded"), ("original", "slow"), ("rounded", "slow")]


def test_no_two_of_many_hearts_are_alike():
    assert _told(_signals(**{f"s{i}": signal(i) for i in range(120)})) == []


def test_another_beat_in_the_same_heart_is_another_recording():
    original = signal(3)
    assert not same_recording(*_signals(a=original, b=np.roll(original, 40, axis=1)).values())
    assert not same_recording(*_signals(a=original, b=-original).values())
    assert not same_recording(*_signals(a=original, b=2 * original).values())
    assert same_recording(*_signals(a=original, b=original + 0.1).values())


def test_a_part_is_not_the_whole():
    original = signal(3)
    assert not same_recording(*_signals(a=original, b=original[:, :4000]).values())


def test_dead_leads_do_not_make_records_alike():
    values = [signal(i) for i in range(2)]
    for each in values:
        each[1:] = np.nan
    signals = _signals(a=values[0], b=values[1])
    assert _told(signals) == []
    assert outline(values[0], LEADS, 500.0)[8:] == [0.0] * 24


def test_real_records_are_alike_only_where_they_are_the_same():
    base = shared_folder("data/ecg")
    records = map(read_record, find_records(base / "challenge") + find_records(base / "ptb"))
    assert _told({each.name: each for each in records}) == [("S0001", "s0010_re")]


def test_real_records_are_told_at_another_rate():
    base = shared_folder("data/ecg")
    records = [read_record(file) for file in find_records(base / "challenge")[::4]]
    told = 0
    for record in records:
        values = np.nan_to_num(record.millivolts)
        slow = resample_poly(values, 1, round(record.rate_hz / 100), axis=1)
        copy = Signal("slow", slow, record.leads, 100.0)
        told += same_recording(record, copy)
    assert told == len(records)
