"""Records of every format from one synthetic signal, and files that are damaged in a known way."""

import base64
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import io

from medssm.data.ecg.challenge_files import RecordText, checksum, write_challenge_record
from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.synthetic import synthetic_signal

RATE_HZ = 500.0
CODES = ("426783006",)


def signal(seed=0, labels=("NSR",)):
    """(12, 5000) mV."""
    return synthetic_signal(frozenset(labels), np.random.default_rng(seed))


def write_record(folder, name, millivolts=None, **text):
    """A Challenge record; returns its header."""
    folder.mkdir(parents=True, exist_ok=True)
    millivolts = signal() if millivolts is None else millivolts
    said = RecordText(**{"codes": CODES, "age": 60.0, "sex": "male", **text})
    return write_challenge_record(folder / name, millivolts, RATE_HZ, said)


def edit(header, change):
    """Change the lines of a header."""
    lines = header.read_text().splitlines()
    header.write_text("\n".join(change(lines)) + "\n")
    return header


def replace_in(header, old, new, count=-1):
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, count))
    return header


def write_dat(folder, name, millivolts=None, gain=1000, samples=None, lead_names=LEADS):
    """A WFDB record of format 16 with .dat."""
    folder.mkdir(parents=True, exist_ok=True)
    millivolts = signal() if millivolts is None else millivolts
    counts = np.round(millivolts * gain).astype("<i2")
    (folder / f"{name}.dat").write_bytes(counts.T.tobytes())
    said = counts.shape[1] if samples is None else samples
    lines = [f"{name} {len(counts)} 500 {said}"]
    lines += [
        f"{name}.dat 16 {gain}.0(0)/mV 16 0 {row[0]} {checksum(row)} 0 {lead}"
        for lead, row in zip(lead_names, counts, strict=True)
    ]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.hea"


def write_edf(file, millivolts=None, unit="mV", labels=LEADS, physical=8.0, rate=500):
    """EDF with one second a data record."""
    millivolts = signal() if millivolts is None else millivolts
    count, length = millivolts.shape
    seconds = length // rate
    scaled = np.round((millivolts + physical) / (2 * physical) * 65535 - 32768)
    counts = np.clip(scaled, -32768, 32767).astype("<i2")

    def field(text, width):
        return str(text)[:width].ljust(width).encode("latin-1")

    head = field("0", 8) + field("P001 M 01-JAN-1960 Name", 80) + field("Startdate X X X X", 80)
    head += field("01.01.24", 8) + field("00.00.00", 8) + field(256 * (count + 1), 8)
    head += field("", 44) + field(seconds, 8) + field("1", 8) + field(count, 4)
    for width, values in (
        (16, labels), (80, [""] * count), (8, [unit] * count), (8, [-physical] * count),
        (8, [physical] * count), (8, [-32768] * count), (8, [32767] * count), (80, [""] * count),
        (8, [rate] * count), (32, [""] * count),
    ):  # fmt: skip
        head += b"".join(field(value, width) for value in values)
    blocks = [counts[:, i * rate : (i + 1) * rate].tobytes() for i in range(seconds)]
    file.write_bytes(head + b"".join(blocks))
    return file


def write_muse(file, millivolts=None, per_bit="4.88", extra="", start=""):
    """MUSE XML with the eight stored leads."""
    millivolts = signal() if millivolts is None else millivolts
    parts = []
    for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"):
        counts = np.round(millivolts[LEADS.index(lead)] * 1000 / 4.88).astype("<i2")
        parts.append(
            f"<LeadData><LeadSampleCountTotal>{len(counts)}</LeadSampleCountTotal>"
            f"<LeadAmplitudeUnitsPerBit>{per_bit}</LeadAmplitudeUnitsPerBit>"
            "<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>"
            f"<LeadID>{lead}</LeadID>"
            f"<WaveFormData>{base64.b64encode(counts.tobytes()).decode()}</WaveFormData></LeadData>"
        )
    file.write_text(
        f'<?xml version="1.0" encoding="ISO-8859-1"?>{start}<RestingECG><PatientDemographics>'
        "<PatientID>77</PatientID><PatientAge>61</PatientAge><AgeUnits>YEARS</AgeUnits>"
        "<Gender>FEMALE</Gender></PatientDemographics><Waveform>"
        "<WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase>"
        f"<SampleExponent>0</SampleExponent>{''.join(parts)}{extra}</Waveform></RestingECG>"
    )
    return file


def write_csv(file, millivolts=None, header=None, time=True):
    """A column a lead, with a column of time in front."""
    millivolts = signal() if millivolts is None else millivolts
    names = list(LEADS) if header is None else header
    columns = list(millivolts)
    if time:
        names, columns = ["time", *names], [np.arange(millivolts.shape[1]) / RATE_HZ, *columns]
    rows = [",".join(names)] if names else []
    rows += [",".join(f"{value:.4f}" for value in row) for row in np.array(columns).T]
    file.write_text("\n".join(rows) + "\n")
    return file


def write_npy(file, millivolts=None, beside='{"leads": LEADS, "rate_hz": 500}'):
    """An array with NAME.json; None leaves that out."""
    np.save(file, signal() if millivolts is None else millivolts)
    if beside is not None:
        names = "[" + ", ".join(f'"{lead}"' for lead in LEADS) + "]"
        file.with_suffix(".json").write_text(beside.replace("LEADS", names))
    return file


def write_hdf5(file, name="ecg"):
    import h5py

    with h5py.File(file, "w") as content:
        content[name] = signal().astype(np.float16)
    return file


def write_dicom(file, waveform=True):
    """pydicom's own twelve-lead example, or the same without its waveforms."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    data = dcmread(get_testdata_file("waveform_ecg.dcm"))
    if not waveform:
        del data.WaveformSequence
    data.save_as(file)
    return file


def _cut(file, share=0.5):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def _mat(folder, content):
    write_record(folder, "broken").with_suffix(".mat").write_bytes(content)


def _header(folder, text):
    write_record(folder, "broken").write_text(text)


def _gain(folder, word, values=None):
    replace_in(write_record(folder, "broken", values), "1000/mV", word)


def _values(folder, change):
    values = signal()
    change(values)
    write_record(folder, "broken", values)


def _level5(folder):
    header = write_record(folder, "broken")
    mat = header.with_suffix(".mat")
    io.savemat(mat, {"val": np.round(signal() * 1000).astype(np.int16)})
    _cut(mat, 0.6)


def _leads_called(folder, name):
    def change(lines):
        return [line.rsplit(" ", 1)[0] + f" {name}" if ".mat" in line else line for line in lines]

    edit(write_record(folder, "broken"), change)


def _lost(values):
    values[:, 1500:] = np.nan


def _still(values):
    values[:] = 0


def _tiny(values):
    values *= 0.004


def _orphan(folder, ending):
    header = write_record(folder, "broken") if ending == ".mat" else write_dat(folder, "broken")
    header.unlink()


def _pickled(folder):
    (folder / "broken.npy").write_bytes(pickle.dumps({"a": 1}))
    (folder / "broken.json").write_text('{"leads": ["I", "II"], "rate_hz": 500}')


def _cpsc(folder):
    io.savemat(folder / "broken.mat", {"other": np.zeros(3)})


def _drop_base64(folder):
    file = write_muse(folder / "broken.xml")
    text = file.read_text()
    at = text.index("</WaveFormData>")
    file.write_text(text[: at - 40] + text[at:])


def _short(folder):
    write_record(folder, "broken", signal()[:, :250])


ENTITY = '<!DOCTYPE RestingECG [<!ENTITY a "aaaaaaaa">]>'
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
# what is wrong -> how to make it, and the problem that findings.csv must name
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "mat_cut": (lambda f: _cut(write_record(f, "broken").with_suffix(".mat")), "truncated"),
    "mat_empty": (lambda f: _mat(f, b""), "empty"),
    "mat_zeros": (lambda f: _mat(f, bytes(300)), "empty"),
    "mat_web_page": (lambda f: _mat(f, HTML), "not_a_record"),
    "mat_missing": (
        lambda f: write_record(f, "broken").with_suffix(".mat").unlink(), "missing_file"),
    "mat_level5_cut": (_level5, "truncated"),
    "mat_without_header": (lambda f: _orphan(f, ".mat"), "missing_file"),
    "mat_of_something": (_cpsc, "mat"),
    "dat_without_header": (lambda f: _orphan(f, ".dat"), "missing_file"),
    "dat_cut": (lambda f: _cut(write_dat(f, "broken").with_suffix(".dat")), "truncated"),
    "header_empty": (lambda f: _header(f, ""), "empty"),
    "header_web_page": (lambda f: _header(f, HTML.decode()), "not_a_record"),
    "header_of_comments": (lambda f: _header(f, "#Age: 5\n#Sex: Male\n"), "header"),
    "header_short": (lambda f: edit(write_record(f, "broken"), lambda x: x[:6]), "header"),
    "header_bytes": (
        lambda f: write_record(f, "broken").write_bytes(bytes(range(200, 256)) * 9), "header"),
    "header_line_broken": (
        lambda f: replace_in(write_record(f, "broken"), " 16+24 ", " sixteen ", 1), "header"),
    "rate_zero": (lambda f: replace_in(write_record(f, "broken"), " 12 500 ", " 12 0 "), "rate"),
    "gain_zero": (lambda f: _gain(f, "0/mV"), "gain"),
    "gain_absent": (lambda f: _gain(f, "/mV"), "gain"),
    "gain_unreadable": (lambda f: _gain(f, "abc/mV"), "gain"),
    "unit_unknown": (lambda f: _gain(f, "1000/mmHg"), "unit"),
    "amplitude": (lambda f: _values(f, _tiny), "amplitude"),
    "all_flat": (lambda f: _values(f, _still), "all_flat"),
    "mostly_lost": (lambda f: _values(f, _lost), "mostly_bad"),
    "half_a_second": (_short, "too_short"),
    "leads_unknown": (lambda f: _leads_called(f, "MLII"), "no_leads"),
    "edf_cut": (lambda f: _cut(write_edf(f / "broken.edf")), "truncated"),
    "edf_header_cut": (lambda f: _cut(write_edf(f / "broken.edf"), 0.01), "header"),
    "edf_unit": (lambda f: write_edf(f / "broken.edf", unit="degC"), "unit"),
    "edf_labels": (
        lambda f: write_edf(f / "broken.edf", labels=[f"C{i}" for i in range(12)]), "no_leads"),
    "edf_of_nothing": (lambda f: (f / "broken.edf").write_bytes(b"x" * 4000), "header"),
    "muse_cut": (lambda f: _cut(write_muse(f / "broken.xml")), "truncated"),
    "muse_samples": (_drop_base64, "truncated"),
    "muse_gain": (lambda f: write_muse(f / "broken.xml", per_bit="0"), "gain"),
    "muse_entities": (lambda f: write_muse(f / "broken.xml", start=ENTITY), "format"),
    "xml_of_something": (lambda f: (f / "broken.xml").write_text("<a><b/></a>"), "format"),
    "csv_without_names": (lambda f: write_csv(f / "broken.csv", header=[], time=False), "no_leads"),
    "csv_cut": (lambda f: _cut(write_csv(f / "broken.csv"), 0.9), "truncated"),
    "csv_without_rate": (lambda f: write_csv(f / "broken.csv", time=False), "rate"),
    "csv_empty": (lambda f: (f / "broken.csv").write_text(""), "empty"),
    "npy_without_names": (lambda f: write_npy(f / "broken.npy", beside=None), "no_leads"),
    "npy_cut": (lambda f: _cut(write_npy(f / "broken.npy")), "truncated"),
    "npy_pickled": (_pickled, "truncated"),
    "npy_shape": (lambda f: write_npy(f / "broken.npy", signal()[:5]), "shape"),
    "scp": (lambda f: (f / "broken.scp").write_bytes(b"\1\2\3SCPECG"), "format"),
}  # fmt: skip
# the same for formats of optional packages
DAMAGED_OPTIONAL: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "hdf5_cut": ("h5py", lambda f: _cut(write_hdf5(f / "broken.h5")), "truncated"),
    "hdf5_keys": ("h5py", lambda f: write_hdf5(f / "broken.h5", "other"), "format"),
    "hdf5_of_nothing": ("h5py", lambda f: (f / "broken.h5").write_bytes(b"x" * 99), "format"),
    "dicom_cut": ("pydicom", lambda f: _cut(write_dicom(f / "broken.dcm"), 0.3), "truncated"),
    "dicom_no_waveform": ("pydicom", lambda f: write_dicom(f / "broken.dcm", False), "format"),
    "dicom_of_nothing": (
        "pydicom", lambda f: (f / "broken.dcm").write_bytes(b"x" * 500), "unreadable"),
}  # fmt: skip


def write_damaged(folder):
    """One folder of everything that is damaged; returns the problem of each record by name."""
    expected = {}
    for name, (make, problem) in DAMAGED.items():
        place = folder / name
        place.mkdir(parents=True)
        make(place)
        for file in list(place.iterdir()):
            renamed = folder / file.name.replace("broken", name)
            if file.suffix == ".hea":
                file.write_bytes(file.read_bytes().replace(b"broken", name.encode()))
            file.rename(renamed)
        shutil.rmtree(place)
        expected[name] = problem
    return expected
