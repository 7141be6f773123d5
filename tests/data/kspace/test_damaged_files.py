import h5py
import numpy as np
import pytest

from medssm.core.errors import BadDataError, MedssmError, UsageError
from medssm.data.kspace.cfl import write_cfl
from medssm.data.readers.kspace import open_kspace
from tests.support.kspace import (
    acquisition,
    calgary_file,
    fastmri_file,
    multi_coil,
    raw_file,
    raw_header,
)


def _edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def _header_of(text):
    def change(file):
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = text

    return change


def _coils(file):
    kspace = file["kspace"][:, :3]
    del file["kspace"]
    file["kspace"] = kspace


def _mask(file):
    file["mask"] = np.ones(7)


def _reference(file):
    del file["reconstruction_rss"]
    file["reconstruction_rss"] = np.ones((3, 20, 20), np.float32)


def _empty_acs(file):
    mask = np.zeros(40)
    mask[::3] = 1
    file["mask"] = mask


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_coils, r"kspace has 3 coils. Expected 4 by receiverChannels"),
        (_mask, r"its mask has the shape \(7,\). Expected \(40,\)"),
        (_reference, r"its reconstruction_rss has the shape \(3, 20, 20\). Expected \(slices"),
        (_empty_acs, r"its centre \(24, 20\) is not fully sampled"),
        (_header_of(b"<broken"), r"no valid XML"),
        (_header_of(b"<ismrmrdHeader/>"), r"lacks encoding/encodedSpace/matrixSize"),
    ],
)
def test_contradictions_are_answered_with_the_file(tmp_path, change, words):
    path = fastmri_file(tmp_path / "file7.h5")
    _edit(path, change)
    with pytest.raises(BadDataError, match=rf"file7.h5: .*{words}"):
        open_kspace(path)


def test_samples_that_are_no_numbers_are_answered_with_file_and_slice(tmp_path):
    path = fastmri_file(tmp_path / "file7.h5")

    def spoil(file):
        file["kspace"][1, 2, 3, 4] = np.nan

    _edit(path, spoil)
    volume = open_kspace(path)
    volume.read(0)
    with pytest.raises(BadDataError, match=r"file7.h5: slice 1: 1 of 15,360 values are NaN"):
        volume.read(1)
    with pytest.raises(UsageError, match=r"no slice 2; it has 0 to 1"):
        volume.read(2)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_a_cut_file_is_named(tmp_path, share):
    path = fastmri_file(tmp_path / "file7.h5")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadDataError, match=r"file7.h5: (cut off|the file is empty)"):
        open_kspace(path)


def test_other_files_are_named_with_what_was_expected(tmp_path):
    (tmp_path / "text.h5").write_text("hello, this is no HDF5")
    with pytest.raises(BadDataError, match=r"text.h5: not an HDF5 file"):
        open_kspace(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros(3)
    with pytest.raises(BadDataError, match=r"other.h5: holds image. Expected kspace"):
        open_kspace(tmp_path / "other.h5")
    calgary = calgary_file(tmp_path / "cc.h5", coils=2)

    def odd(file):
        kspace = file["kspace"][..., :3]
        del file["kspace"]
        file["kspace"] = kspace

    _edit(calgary, odd)
    with pytest.raises(BadDataError, match=r"cc.h5: .* 3 values a position. Expected an even"):
        open_kspace(calgary)
    np.save(tmp_path / "real.npy", np.zeros((3, 20, 20)))
    with pytest.raises(BadDataError, match=r"real.npy: holds float64"):
        open_kspace(tmp_path / "real.npy")
    write_cfl(tmp_path / "b.cfl", np.ones((1, 20, 20, 2)))
    (tmp_path / "b.cfl").write_bytes(b"12345678")
    with pytest.raises(BadDataError, match=r"b.cfl: 8 bytes. Expected 6,400"):
        open_kspace(tmp_path / "b.cfl")


def test_raw_files_that_contradict_their_header_are_refused(tmp_path):
    kspace = multi_coil(slices=1, coils=2, size=(16, 16))[0]
    lines = [acquisition(kspace[:, :, line], line) for line in range(16)]
    spiral = raw_header((16, 16, 1), (16, 16, 1), 2, trajectory="spiral")
    with pytest.raises(BadDataError, match=r"spiral.h5: its trajectory is 'spiral'"):
        open_kspace(raw_file(tmp_path / "spiral.h5", spiral, lines))
    claimed = raw_header((16, 16, 1), (16, 16, 1), 2, claimed=6)
    with pytest.raises(BadDataError, match=r"coils.h5: acquisitions have 2 coils. Expected 6"):
        open_kspace(raw_file(tmp_path / "coils.h5", claimed, lines))
    small = raw_header((16, 8, 1), (16, 8, 1), 2)
    with pytest.raises(BadDataError, match=r"small.h5: kspace_encode_step_1 reaches 0 to 15"):
        open_kspace(raw_file(tmp_path / "small.h5", small, lines))
    noise = [acquisition(kspace[:, :, 0], 0, flags=(19,))]
    plain = raw_header((16, 16, 1), (16, 16, 1), 2)
    with pytest.raises(BadDataError, match=r"noise.h5: none of 1 acquisitions is an imaging line"):
        open_kspace(raw_file(tmp_path / "noise.h5", plain, noise))


def _read_all(path):
    """What a file gives, or nothing where it is answered with an error of ours."""
    try:
        volume = open_kspace(path)
        for index in range(min(volume.slices, 3)):
            volume.read(index)
            volume.reference(index)
    except MedssmError as error:
        assert path.name in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_answered_and_never_a_traceback(tmp_path, seed):
    rng = np.random.default_rng(seed)
    array = tmp_path / "a.npy"
    np.save(array, multi_coil(slices=1, coils=2, size=(16, 16)))
    content = bytearray(array.read_bytes())
    for place in rng.integers(0, 200, size=rng.integers(1, 12)):
        content[place] = rng.integers(256)
    array.write_bytes(bytes(content[: rng.integers(len(content))] if seed % 3 == 0 else content))
    _read_all(array)
    made = fastmri_file(tmp_path / "b.h5", slices=1, coils=2, size=(40, 40))
    content = bytearray(made.read_bytes())
    first, last = content.find(b"<?xml"), content.find(b"</ismrmrdHeader>")
    for place in rng.integers(first, last, size=rng.integers(1, 6)):
        content[place] = rng.integers(32, 127)
    made.write_bytes(content)
    _read_all(made)


def test_a_header_of_impossible_sizes_is_refused(tmp_path):
    path = fastmri_file(tmp_path / "a.h5")
    for was, now in ((b"<x>48</x>", b"<x>00</x>"), (b"<x>00</x>", b"<x>-9</x>")):
        path.write_bytes(path.read_bytes().replace(was, now))
        with pytest.raises(BadDataError, match=r"says matrixSize .* in encodedSpace"):
            open_kspace(path)
