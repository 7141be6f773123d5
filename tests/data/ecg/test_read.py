"""Every format gives the same signal; every damaged file gives its finding; oddities are mended."""

import numpy as np
import pytest

from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.read import find_records, format_of, read_record, record_seconds
from medssm.data.ecg.signal import ReadOptions, RecordError
from tests.support import ecg_files as files
from tests.support.ecg_files import (
    DAMAGED,
    DAMAGED_OPTIONAL,
    RATE_HZ,
    edit,
    replace_in,
    signal,
    write_record,
)


def _problems(record):
    return [each.problem for each in record.findings]


def _one(folder):
    (file,) = find_records(folder)
    return file


FORMATS = {
    "challenge": (lambda f: write_record(f, "r"), 6e-4),
    "dat": (lambda f: files.write_dat(f, "r"), 6e-4),
    "edf": (lambda f: files.write_edf(f / "r.edf"), 2e-4),
    "edf_uv": (lambda f: files.write_edf(f / "r.edf", signal() * 1000, "uV", physical=8000), 2e-4),
    "csv": (lambda f: files.write_csv(f / "r.csv"), 1e-4),
    "npy": (lambda f: files.write_npy(f / "r.npy"), 1e-6),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_signal_that_was_written(tmp_path, name):
    make, step = FORMATS[name]
    make(tmp_path)
    record = read_record(_one(tmp_path))
    assert record.leads == LEADS
    assert record.rate_hz == RATE_HZ
    np.testing.assert_allclose(record.millivolts, signal(), atol=step)
    assert _problems(record) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_span_is_that_part_of_the_whole(tmp_path, name):
    FORMATS[name][0](tmp_path)
    whole = read_record(_one(tmp_path)).millivolts
    part = read_record(_one(tmp_path), 2.5, 6.101).millivolts
    np.testing.assert_array_equal(part, whole[:, 1250:3050])
    rest = read_record(_one(tmp_path), 3.0).millivolts
    np.testing.assert_array_equal(rest, whole[:, 1500:])


@pytest.mark.parametrize("name", FORMATS)
def test_the_length_is_known(tmp_path, name):
    FORMATS[name][0](tmp_path)
    seconds, rate_hz, leads = record_seconds(_one(tmp_path))
    assert (seconds, rate_hz) == (10.0, RATE_HZ)
    assert len(leads) == 12


def test_muse_stores_eight_leads_and_gets_twelve(tmp_path):
    files.write_muse(tmp_path / "r.xml")
    record = read_record(tmp_path / "r.xml")
    assert record.leads == LEADS
    assert _problems(record) == ["lead_derived"]
    written = signal()
    np.testing.assert_allclose(record.millivolts[1], written[1], atol=0.003)
    np.testing.assert_allclose(record.millivolts[2], written[1] - written[0], atol=0.006)
    assert (record.patient, record.age, record.sex) == ("77", 61.0, "female")


def test_dicom_takes_the_rhythm_in_millivolts(tmp_path):
    pytest.importorskip("pydicom")
    record = read_record(files.write_dicom(tmp_path / "r.dcm"))
    assert record.millivolts.shape == (12, 10000)
    assert record.leads == LEADS
    assert 0.5 < np.nanmax(np.abs(record.millivolts)) < 5
    assert (record.age, record.sex) == (42.0, "female")


def test_dicom_is_known_without_an_ending(tmp_path):
    pytest.importorskip("pydicom")
    files.write_dicom(tmp_path / "IM0001")
    assert format_of(tmp_path / "IM0001") == "dicom"


def test_sph_is_read(tmp_path):
    pytest.importorskip("h5py")
    record = read_record(files.write_hdf5(tmp_path / "A00001.h5"))
    np.testing.assert_allclose(record.millivolts, signal(), atol=2e-3)
    assert (record.source, record.rate_hz) == ("SPH", 500.0)


def test_cpsc_is_read(tmp_path):
    from scipy import io

    content = {"sex": "Female", "age": 70, "data": signal().astype(np.float64)}
    io.savemat(tmp_path / "A0001.mat", {"ECG": content})
    record = read_record(tmp_path / "A0001.mat")
    np.testing.assert_allclose(record.millivolts, signal(), atol=1e-6)
    assert (record.age, record.sex, record.source) == (70.0, "female", "CPSC")


def test_our_edf_reader_agrees_with_pyedflib(tmp_path):
    pyedflib = pytest.importorskip("pyedflib")
    file = files.write_edf(tmp_path / "r.edf")
    reader = pyedflib.EdfReader(str(file))
    theirs = np.stack([reader.readSignal(i) for i in range(12)])
    reader.close()
    np.testing.assert_allclose(read_record(file).millivolts, theirs, atol=1e-5)


def test_bdf_is_read_through_pyedflib(tmp_path):
    pyedflib = pytest.importorskip("pyedflib")
    writer = pyedflib.EdfWriter(str(tmp_path / "r.bdf"), 12, pyedflib.FILETYPE_BDF)
    for i, lead in enumerate(LEADS):
        writer.setSignalHeader(
            i,
            {"label": lead, "dimension": "uV", "sample_frequency": 500, "physical_min": -9000,
             "physical_max": 9000, "digital_min": -8388608, "digital_max": 8388607,
             "transducer": "", "prefilter": ""},
        )  # fmt: skip
    writer.writeSamples([row.astype(np.float64) * 1000 for row in signal()])
    writer.close()
    record = read_record(tmp_path / "r.bdf")
    np.testing.assert_allclose(record.millivolts, signal(), atol=2e-5)


def test_packed_wfdb_formats_go_through_wfdb(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    wfdb.wrsamp(
        "r", fs=500, units=["mV"] * 12, sig_name=list(LEADS), p_signal=signal().T.astype(float),
        fmt=["212"] * 12, write_dir=str(tmp_path),
    )  # fmt: skip
    record = read_record(tmp_path / "r.hea")
    np.testing.assert_allclose(record.millivolts, signal(), atol=4e-3)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_gives_its_finding(tmp_path, name):
    make, problem = DAMAGED[name]
    make(tmp_path)
    with pytest.raises(RecordError) as caught:
        read_record(_one(tmp_path))
    finding = caught.value.finding
    assert finding.problem == problem
    assert finding.severity == "error"
    assert all((finding.found, finding.expected, finding.remedy))
    assert "broken" in str(caught.value)


@pytest.mark.parametrize("name", DAMAGED_OPTIONAL)
def test_a_damaged_file_of_an_optional_format_gives_its_finding(tmp_path, name):
    module, make, problem = DAMAGED_OPTIONAL[name]
    pytest.importorskip(module)
    make(tmp_path)
    with pytest.raises(RecordError) as caught:
        read_record(_one(tmp_path))
    assert caught.value.finding.problem in (problem, "unreadable")


def _identifier(lines):
    return [lines[0].replace("E00001 ", "E00001.mat "), *lines[1:]]


def test_an_identifier_with_mat_is_mended(tmp_path):
    record = read_record(edit(write_record(tmp_path, "E00001"), _identifier))
    assert record.name == "E00001"
    assert _problems(record) == ["header_mended"]


@pytest.mark.parametrize("between", [" ", ""])
def test_joined_first_lines_are_mended(tmp_path, between):
    def change(lines):
        return [lines[0] + " 23-Mar-2021 20:20:47" + between + lines[1], *lines[2:]]

    record = read_record(edit(write_record(tmp_path, "JS23074"), change))
    assert record.leads == LEADS
    assert record.rate_hz == 500
    assert _problems(record) == ["header_mended"]
    np.testing.assert_allclose(record.millivolts, signal(), atol=6e-4)


def test_the_newer_style_of_headers_is_read(tmp_path):
    header = write_record(tmp_path, "r")
    text = header.read_text().replace("16+24 1000/mV", "16x1+24 1000.0(0)/mV")
    header.write_text(text.replace("#Dx", "# Dx").replace("#Age", "# Age").replace("#Sex", "# Sex"))
    record = read_record(header)
    assert (record.codes, record.age, record.sex) == (("426783006",), 60.0, "male")
    np.testing.assert_allclose(record.millivolts, signal(), atol=6e-4)


@pytest.mark.parametrize("text", ["#Dx: \n", "# Dx:\n", ""])
def test_without_a_label_a_record_is_unlabelled(tmp_path, text):
    record = read_record(replace_in(write_record(tmp_path, "r"), "#Dx: 426783006\n", text))
    assert record.codes is None


def test_leads_in_another_order_are_put_in_order_by_name(tmp_path):
    turned = files.write_dat(
        tmp_path, "r", signal()[::-1], lead_names=[x.upper() for x in LEADS[::-1]]
    )
    record = read_record(turned)
    np.testing.assert_allclose(record.millivolts, signal(), atol=6e-4)
    assert _problems(record) == ["lead_order"]


def test_a_missing_limb_lead_is_computed(tmp_path):
    names = [lead for lead in LEADS if lead != "III"]
    kept = signal()[[LEADS.index(lead) for lead in names]]
    record = read_record(files.write_dat(tmp_path, "r", kept, lead_names=names))
    assert _problems(record) == ["lead_derived"]
    np.testing.assert_allclose(record.millivolts[2], signal()[1] - signal()[0], atol=2e-3)


def test_a_missing_chest_lead_is_told_and_never_invented(tmp_path):
    names = [lead for lead in LEADS if lead != "V3"]
    kept = signal()[[LEADS.index(lead) for lead in names]]
    record = read_record(files.write_dat(tmp_path, "r", kept, lead_names=names))
    assert _problems(record) == ["lead_missing"]
    assert "V3" not in record.leads


def test_mlii_is_not_two(tmp_path):
    record = read_record(
        files.write_dat(tmp_path, "r", signal()[[1, 10]], lead_names=["MLII", "V5"])
    )
    assert record.leads == ("V5",)
    assert _problems(record) == ["lead_unknown", "lead_missing"]


def test_a_lead_that_comes_twice_is_taken_once(tmp_path):
    names = ["I", "II", "II", *LEADS[3:]]
    record = read_record(files.write_dat(tmp_path, "r", signal(), lead_names=names))
    assert _problems(record) == ["lead_twice", "lead_derived"]


def test_a_flat_lead_is_masked(tmp_path):
    values = signal()
    values[LEADS.index("V2")] = 0
    record = read_record(write_record(tmp_path, "r", values))
    assert _problems(record) == ["flat"]
    assert np.isnan(record.millivolts[LEADS.index("V2")]).all()


def test_a_lead_that_breaks_einthovens_law_is_told(tmp_path):
    values = signal()
    values[2] = 0.5 * np.sin(np.arange(5000) / 500)
    assert "limb_identity" in _problems(read_record(write_record(tmp_path, "r", values)))


def test_not_recorded_samples_are_no_voltage(tmp_path):
    values = signal()
    values[3, 1000:1100] = np.nan
    record = read_record(write_record(tmp_path, "r", values))
    assert _problems(record) == ["gap"]
    assert np.isnan(record.millivolts[3, 1000:1100]).all()
    assert np.isfinite(np.delete(record.millivolts, 3, 0)).all()
    assert np.nanmax(np.abs(record.millivolts)) < 10


def test_clipped_runs_are_gaps(tmp_path):
    values = signal()
    values[6, 2000:2010] = 40.0
    record = read_record(write_record(tmp_path, "r", values))
    assert _problems(record) == ["gap", "clipped"]
    assert np.isnan(record.millivolts[6, 2000:2010]).all()


def test_a_wrong_checksum_is_told_and_is_an_error_under_strict(tmp_path):
    header = write_record(tmp_path, "r")
    mat = header.with_suffix(".mat")
    content = bytearray(mat.read_bytes())
    content[5000] ^= 1
    mat.write_bytes(content)
    assert _problems(read_record(header)) == ["checksum"]
    with pytest.raises(RecordError, match="other sums"):
        read_record(header, options=ReadOptions(strict=True))


def test_another_number_of_samples_is_told(tmp_path):
    header = replace_in(write_record(tmp_path, "r"), " 500 5000", " 500 7500")
    record = read_record(header)
    assert _problems(record) == ["samples"]
    assert record.millivolts.shape[1] == 5000


@pytest.mark.parametrize(("name", "gain"), [("E00001", 4880), ("HR00001", 200), ("S0001", 2000000)])
def test_gains_of_the_early_release_are_corrected(tmp_path, name, gain):
    record = read_record(replace_in(write_record(tmp_path, name), "1000/mV", f"{gain}/mV"))
    assert _problems(record) == ["gain_corrected"]
    np.testing.assert_allclose(record.millivolts, signal(), atol=6e-4)


def test_an_impossible_gain_gives_way_to_the_usual_one(tmp_path):
    record = read_record(replace_in(write_record(tmp_path, "I0001"), "1000/mV", "306000/mV"))
    assert _problems(record) == ["gain_corrected"]
    np.testing.assert_allclose(record.millivolts, signal(), atol=6e-4)


def test_a_gain_of_another_source_is_believed(tmp_path):
    header = replace_in(write_record(tmp_path, "X1", signal() / 2), "1000/mV", "500/mV")
    record = read_record(header)
    assert _problems(record) == []
    np.testing.assert_allclose(record.millivolts, signal(), atol=2e-3)


def test_a_missing_gain_is_taken_from_the_user_alone(tmp_path):
    header = replace_in(write_record(tmp_path, "r"), "1000/mV", "0/mV")
    record = read_record(header, options=ReadOptions(default_gain=1000))
    np.testing.assert_allclose(record.millivolts, signal(), atol=6e-4)


@pytest.mark.parametrize(("unit", "scale"), [("uV", 1e-3), ("V", 1e3), ("nV", 1e-6)])
def test_units_are_converted(tmp_path, unit, scale):
    header = replace_in(write_record(tmp_path, "r"), "1000/mV", f"{1000 * scale:g}/{unit}")
    np.testing.assert_allclose(read_record(header).millivolts, signal(), atol=6e-4)


def test_a_baseline_in_brackets_is_the_count_of_zero(tmp_path):
    header = write_record(tmp_path, "r", signal() + 0.3)
    replace_in(header, "1000/mV", "1000(300)/mV")
    np.testing.assert_allclose(read_record(header).millivolts, signal(), atol=6e-4)


@pytest.mark.parametrize(("old", "new", "problem"), [
    ("#Age: 60", "#Age: 300", "age"), ("#Sex: Male", "#Sex: 9", "sex"),
    ("#Dx: 426783006", "#Dx: 426783006,426177001", "labels_contradict"),
])  # fmt: skip
def test_what_cannot_be_true_of_a_person_is_told(tmp_path, old, new, problem):
    record = read_record(replace_in(write_record(tmp_path, "r"), old, new))
    assert _problems(record) == [problem]


def test_age_nan_is_simply_unknown(tmp_path):
    record = read_record(replace_in(write_record(tmp_path, "r"), "#Age: 60", "#Age: NaN"))
    assert (record.age, _problems(record)) == (None, [])


def test_unknown_codes_are_kept(tmp_path):
    header = replace_in(write_record(tmp_path, "r"), "#Dx: 426783006", "#Dx: 67741000119109,7")
    record = read_record(header)
    assert (record.codes, _problems(record)) == (("67741000119109", "7"), [])


def test_short_records_are_told(tmp_path):
    assert _problems(read_record(write_record(tmp_path, "r", signal()[:, :1500]))) == ["short"]


def test_the_same_recording_has_the_same_hash_in_two_formats(tmp_path):
    one = read_record(write_record(tmp_path / "a", "r"))
    two = read_record(files.write_dat(tmp_path / "b", "other"))
    assert one.sha256 == two.sha256
    assert one.sha256 != read_record(write_record(tmp_path, "s", signal(1))).sha256


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch):
    from medssm.core.errors import MachineError

    def gone(module, *_):
        raise ImportError(module)

    pytest.importorskip("h5py")
    file = files.write_hdf5(tmp_path / "r.h5")
    monkeypatch.setattr("medssm.core.extras.import_module", gone)
    with pytest.raises(MachineError, match=r"medssm\[ecg\]"):
        read_record(file)


def test_tables_beside_records_are_no_records(tmp_path):
    write_record(tmp_path, "r")
    (tmp_path / "index.csv").write_text("id,age\nr,5\n")
    (tmp_path / "labels.csv").write_text("record,codes\nr,5\n")
    assert [each.name for each in find_records(tmp_path)] == ["r.hea"]
