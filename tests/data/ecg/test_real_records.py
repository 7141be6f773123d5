"""Every real record is read with its leads, units and labels, and what is odd about it is found."""

import csv
from pathlib import Path

import numpy as np
import pytest

from medssm.data.ecg.classes import SOURCES
from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.read import find_records, read_record
from medssm.data.ecg.signal import RecordError
from tests.support.shared import shared_folder


def _problems(record):
    return {each.problem: each.found for each in record.findings}


@pytest.fixture(scope="module")
def challenge():
    folder = shared_folder("data/ecg/challenge")
    return {path.stem: read_record(path) for path in find_records(folder)}


@pytest.fixture(scope="module")
def index():
    with (shared_folder("data/ecg/challenge") / "index.csv").open() as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


def test_all_records_are_read_as_the_index_lists_them(challenge, index):
    assert len(challenge) == 94
    for name, record in challenge.items():
        row = index[name]
        assert record.leads == LEADS
        assert record.rate_hz == float(row["fs"])
        assert record.millivolts.shape == (12, int(row["samples"]))
        # one header says a code twice
        assert record.codes == tuple(dict.fromkeys(row["dx"].split("|")))
        assert record.sha256.startswith(row["sha256_12_of_int32_samples"])
        assert record.source in SOURCES


def test_voltages_are_those_of_a_heart(challenge):
    for name, record in challenge.items():
        size = np.nanpercentile(np.abs(record.millivolts), 99.5)
        assert 0.2 < size < 7, name


def test_flat_leads_are_the_listed_ones(challenge, index):
    flat = {n: r.count(",") + 1 for n, x in challenge.items() if (r := _problems(x).get("flat"))}
    listed = {n: int(index[n]["flat_leads"]) for n in challenge if int(index[n]["flat_leads"])}
    assert flat == listed
    assert {"JS45542", "JS45544", "JS45551"} <= flat.keys()


def test_wrong_gains_are_corrected(challenge):
    corrected = {name for name, x in challenge.items() if "gain_corrected" in _problems(x)}
    assert corrected == {"E00015", "E00018", "E00793", "HR00599", "HR20715"}


def test_contradictory_labels_are_told(challenge):
    told = {name for name, x in challenge.items() if "labels_contradict" in _problems(x)}
    assert told == {"HR00002"}


def test_no_other_finding_is_made_up(challenge):
    known = {"flat", "gain_corrected", "labels_contradict", "header_mended", "limb_identity"}
    assert {problem for x in challenge.values() for problem in _problems(x)} <= known


def test_odd_headers_give_the_signals_of_the_later_release(challenge):
    folder = shared_folder("data/ecg/odd_headers")
    read = 0
    for path in find_records(folder):
        if path.stem == "I0001":
            with pytest.raises(RecordError, match="not there"):
                read_record(path)
            continue
        record = read_record(path)
        read += 1
        assert record.codes is None
        if path.stem in challenge:
            assert record.sha256 == challenge[path.stem].sha256
            np.testing.assert_array_equal(record.millivolts, challenge[path.stem].millivolts)
        wrong = path.stem[0] in "ES" or path.stem.startswith("HR")
        assert ("gain_corrected" in _problems(record)) == wrong
    assert read == 7


def test_the_original_of_ptb_agrees_with_the_challenges_copy(challenge):
    record = read_record(shared_folder("data/ecg/ptb") / "s0010_re.hea")
    copy = challenge["S0001"]
    assert record.leads == LEADS
    assert (record.rate_hz, record.age, record.sex) == (1000.0, 81.0, "female")
    for lead in range(12):
        ours, theirs = record.millivolts[lead], copy.millivolts[lead]
        assert np.corrcoef(ours, theirs)[0, 1] > 0.99999
        assert abs(np.polyfit(ours, theirs, 1)[0] - 1) < 3e-3


def test_wfdb_gives_the_same_millivolts(challenge):
    wfdb = pytest.importorskip("wfdb")
    folder = Path(shared_folder("data/ecg/challenge"))
    for name in ("A0001", "HR00001", "S0003", "JS00001", "Q0001"):
        theirs = wfdb.rdrecord(str(folder / name)).p_signal.T
        np.testing.assert_allclose(challenge[name].millivolts, theirs, atol=1e-5)
