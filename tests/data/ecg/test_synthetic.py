"""The synthetic records: a function of the seed, with the marks that their labels stand for."""

import numpy as np
import pytest

from medssm.data.ecg.classes import SOURCES, challenge_classes, code_of, known_mask, targets
from medssm.data.ecg.leads import LEADS, canonical_lead, derive_limb_leads
from medssm.data.ecg.synthetic import (
    ALL,
    SECTION11,
    draw_labels,
    make_synthetic_records,
    synthetic_signal,
)


def _rate_bpm(signal):
    """Beats a minute by the peaks of the slope of all leads."""
    slope = np.abs(np.diff(signal, axis=1)).sum(axis=0)
    slope = np.convolve(slope, np.ones(40) / 40, mode="same")
    above = np.flatnonzero(slope > 0.5 * np.percentile(slope, 99))
    starts = above[np.r_[True, np.diff(above) > 100]]
    return 60 * 500 * (len(starts) - 1) / (starts[-1] - starts[0])


@pytest.mark.parametrize(
    ("label", "low", "high"), [("NSR", 60, 100), ("SB", 36, 60), ("STach", 100, 153)]
)
def test_a_rhythm_has_its_rate(label, low, high):
    rates = [
        _rate_bpm(synthetic_signal(frozenset([label]), np.random.default_rng(i))) for i in range(5)
    ]
    assert min(rates) > low
    assert max(rates) < high


def test_limb_leads_obey_einthoven_up_to_the_gain_of_the_electrodes():
    signal = synthetic_signal(frozenset(["NSR"]), np.random.default_rng(0))
    first, second, third = signal[:3]
    assert np.median(np.abs(third - (second - first))) < 0.1


def test_low_voltage_is_low():
    low = synthetic_signal(frozenset(["NSR", "LQRSV"]), np.random.default_rng(0))
    usual = synthetic_signal(frozenset(["NSR"]), np.random.default_rng(0))
    assert np.percentile(np.abs(low), 99.5) < 0.5 * np.percentile(np.abs(usual), 99.5)


def test_bundle_branch_blocks_show_in_v1():
    lead = LEADS.index("V1")
    left = synthetic_signal(frozenset(["NSR", "LBBB"]), np.random.default_rng(0))[lead]
    right = synthetic_signal(frozenset(["NSR", "RBBB"]), np.random.default_rng(0))[lead]
    assert left.min() < -0.8
    assert right.max() > 0.6


def test_axis_deviation_turns_lead_one_or_the_feet():
    left = synthetic_signal(frozenset(["NSR", "LAD"]), np.random.default_rng(0))
    right = synthetic_signal(frozenset(["NSR", "RAD"]), np.random.default_rng(0))
    assert left[0].max() > -left[0].min()
    assert -left[5].min() > left[5].max()
    assert -right[0].min() > right[0].max()


def test_every_scored_class_is_drawn_and_written(tmp_path):
    drawn = set().union(*(draw_labels(np.random.default_rng([0, i])) for i in range(400)))
    assert drawn == set(ALL)
    classes = challenge_classes(2021)
    assert len(ALL) == len(classes) == 26
    assert np.array_equal(sum(targets([code_of(a)], classes) for a in ALL), np.ones(26))


def test_the_small_experiment_draws_its_own_classes_about_two_a_record():
    drawn = [draw_labels(np.random.default_rng([0, i]), SECTION11) for i in range(600)]
    assert set().union(*drawn) == set(SECTION11)
    assert 1.8 < np.mean([len(each) for each in drawn]) < 2.3


def test_a_record_is_a_function_of_seed_and_index(tmp_path):
    one = make_synthetic_records(tmp_path / "a", 2, seed=5)
    more = make_synthetic_records(tmp_path / "b", 4, seed=5)
    other = make_synthetic_records(tmp_path / "c", 2, seed=6)
    for first, second in zip(one, more, strict=False):
        assert first.read_bytes() == second.read_bytes()
        assert first.with_suffix(".mat").read_bytes() == second.with_suffix(".mat").read_bytes()
    assert {each.stem for each in one}.isdisjoint(each.stem for each in other)


def test_wfdb_reads_what_we_write(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    file = make_synthetic_records(tmp_path, 1, seed=1)[0]
    record = wfdb.rdrecord(str(file.with_suffix("")), physical=False)
    assert record.sig_name == list(LEADS)
    assert record.fs == 500
    assert record.units == ["mV"] * 12
    assert list(record.calc_checksum()) == [c % 65536 for c in record.checksum]


@pytest.mark.parametrize("given", [("I", "II"), ("II", "aVF"), ("aVR", "aVL"), ("III", "aVR")])
def test_any_two_limb_leads_give_the_others(given):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 50))
    full = {"I": first, "II": second, **derive_limb_leads({"I": first, "II": second})}
    assert set(full) == set(LEADS[:6])
    again = derive_limb_leads({lead: full[lead] for lead in given})
    for lead, values in again.items():
        np.testing.assert_allclose(values, full[lead], atol=1e-5)


def test_names_of_devices_become_ours():
    known = {"AVR": "aVR", "avf": "aVF", "Lead I (Einthoven)": "I", "ECG V1-Ref": "V1", "v6": "V6"}
    assert {name: canonical_lead(name) for name in known} == known
    assert canonical_lead("MLII") is None
    assert canonical_lead("vx") is None


def test_what_a_source_never_annotated_is_unknown_there():
    classes = challenge_classes(2021)
    counts = [int((~known_mask(source, classes)).sum()) for source in SOURCES]
    assert counts == [20, 6, 17, 21, 4, 3, 7, 1]
    assert known_mask("somewhere", classes).all()
