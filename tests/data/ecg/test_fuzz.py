"""Whatever the bytes: a record or a finding, never another exception, never an endless voltage."""

import shutil

import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.data.ecg.read import find_records, read_record, record_seconds
from tests.support import ecg_files as files

MAKERS = {
    "challenge": lambda f: files.write_record(f, "r"),
    "dat": lambda f: files.write_dat(f, "r"),
    "edf": lambda f: files.write_edf(f / "r.edf"),
    "muse": lambda f: files.write_muse(f / "r.xml"),
    "csv": lambda f: files.write_csv(f / "r.csv", files.signal()[:, :600]),
    "npy": lambda f: files.write_npy(f / "r.npy"),
    "hdf5": lambda f: files.write_hdf5(f / "r.h5"),
    "dicom": lambda f: files.write_dicom(f / "r.dcm"),
}
_OPTIONAL = {"hdf5": "h5py", "dicom": "pydicom"}


def _flip(content, rng):
    # the start of a file decides most
    reach = len(content) if rng.uniform() < 0.3 else min(len(content), 600)
    for place in rng.integers(0, reach, rng.integers(1, 12)):
        content[place] = rng.integers(0, 256)
    return content


def _cut(content, rng):
    return content[: int(len(content) * rng.uniform())]


def _insert(content, rng):
    place = int(rng.integers(len(content)))
    return content[:place] + bytes(rng.integers(0, 256, 7).tolist()) + content[place:]


def _try(path):
    try:
        record = read_record(path)
        record_seconds(path)
    except BadDataError as error:
        return None, str(error)
    return record, ""


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", MAKERS)
def test_any_bytes_give_a_record_or_a_finding(tmp_path, name):
    if name in _OPTIONAL:
        pytest.importorskip(_OPTIONAL[name])
    whole = tmp_path / "whole"
    whole.mkdir()
    MAKERS[name](whole)
    read = refused = 0
    rounds = 12 if name == "dicom" else 36
    for seed in range(rounds):
        rng = np.random.default_rng([7, seed])
        folder = tmp_path / "broken"
        shutil.copytree(whole, folder)
        # of a record of several files any may be the broken one
        file = sorted(folder.iterdir())[int(rng.integers(len(list(folder.iterdir()))))]
        change = (_flip, _flip, _cut, _insert)[seed % 4]
        file.write_bytes(bytes(change(bytearray(file.read_bytes()), rng)))
        for path in find_records(folder):
            record, error = _try(path)
            refused += record is None
            read += record is not None
            if record is None:
                assert str(folder) in error
                continue
            known = record.millivolts[np.isfinite(record.millivolts)]
            assert known.size
            assert len(record.leads) == len(record.millivolts) <= 12
            assert np.percentile(np.abs(known - np.median(known)), 99) < 100
        shutil.rmtree(folder)
    assert refused
    assert read + refused >= 0.8 * rounds
