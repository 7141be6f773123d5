"""Headers and links that name other files, and claims that are too large: nothing of it is read."""

import io
import zipfile

import h5py
import numpy as np
import pytest
import SimpleITK

from medssm.core.errors import BadDataError
from medssm.data.bags import read_bag
from medssm.data.ecg.read import read_record
from medssm.data.kspace.h5_file import open_h5
from medssm.data.readers import reader_of
from medssm.data.readers.kspace import open_kspace

META = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"
NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\nendian: little\n"
SECRET = bytes(range(64))
# {} is the file outside; the name says how the header hides it
HEADERS = {
    "plain.mhd": META + "ElementDataFile = {}\n",
    "list.mhd": META + "ElementDataFile = LIST\n" + "{}\n" * 4,
    "colon.mha": META + "  ElementDataFile:{}\n",
    "apart.mhd": META + "ElementDataFile\n= {}\n",
    "returns.nrrd": NRRD.replace("\n", "\r") + "data file: {}\r\r",
    "after_a_comment.mha": "Comment = ElementDataFile = LOCAL\n" + META + "ElementDataFile = {}\n",
    "plain.nrrd": NRRD + "data file: {}\n\n",
    "capitals.nrrd": NRRD + "DATAFILE: {}\n\n",
    "lines.nrrd": (NRRD + "data file: {}\n\n").replace("\n", "\r\n"),
}


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret=a.bin"
    file.write_bytes(SECRET)
    (tmp_path / "in").mkdir()
    return file


@pytest.mark.parametrize("place", ["absolute", "above"])
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_does_not_have_files_outside_read(name, place, secret, tmp_path):
    file = tmp_path / "in" / name
    outside = str(secret) if place == "absolute" else f"../{secret.name}"
    file.write_text(HEADERS[name].format(*[outside] * 4), newline="")
    told = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
    assert set(told.ravel().tolist()) <= set(SECRET)
    assert told.any()
    for read in (reader_of(file).header, reader_of(file).array):
        with pytest.raises(BadDataError, match="header's own folder"):
            read(file)


def test_a_pattern_of_a_header_asks_for_numbers_alone(secret, tmp_path):
    file = tmp_path / "in" / "a.mhd"
    file.write_text(META + f"ElementDataFile = .%c/{secret.name} 46 46 1\n")
    # C's %c makes the second dot
    told = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
    assert told.ravel()[:16].tolist() == list(SECRET[:16])
    with pytest.raises(BadDataError, match="header's own folder"):
        reader_of(file).array(file)
    for index in range(4):
        (tmp_path / "in" / f"{index:02d}.raw").write_bytes(SECRET[:16])
    file.write_text(META + "ElementDataFile = %02d.raw 0 3 1\n")
    assert reader_of(file).array(file).max() == 15


@pytest.mark.parametrize("name", ["plain.mhd", "list.mhd", "plain.nrrd", "lines.nrrd"])
def test_a_header_may_name_files_of_its_folder(name, secret, tmp_path):
    (tmp_path / "in" / "my voxels").mkdir()
    secret.replace(tmp_path / "in" / "my voxels" / "a.raw")
    file = tmp_path / "in" / name
    file.write_text(HEADERS[name].format(*["my voxels/a.raw"] * 4), newline="")
    voxels = reader_of(file).array(file)
    assert set(voxels.ravel().tolist()) == set(SECRET[:16] if "list" in name else SECRET)


def _external(file, secret):
    file["features"] = h5py.ExternalLink(str(secret), "features")


def _virtual(file, secret):
    layout = h5py.VirtualLayout((3, 4), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "features", (3, 4))
    file.create_virtual_dataset("features", layout)


def _raw(file, secret):
    file.create_dataset("features", (3, 4), np.float32, external=[(str(secret), 0, 48)])


def _soft(file, secret):
    file["a/b"] = h5py.ExternalLink(str(secret), "/")
    file["features"] = h5py.SoftLink("/a/b/features")


@pytest.mark.parametrize("link", [_external, _virtual, _raw, _soft])
def test_numbers_of_another_hdf5_file_are_refused(link, tmp_path):
    secret, file = tmp_path / "secret.h5", tmp_path / "a.h5"
    with h5py.File(secret, "w") as content:
        content["features"] = np.full((3, 4), 7, np.float32)
    with h5py.File(file, "w") as content:
        link(content, secret)
    with h5py.File(file) as content:
        assert content["features"][:].any()
    with pytest.raises(BadDataError, match="lies in another file"):
        read_bag(file)
    with pytest.raises(BadDataError, match="lies in another file"), open_h5(file):
        pass
    with h5py.File(file, "a") as content:
        content["ecg"] = h5py.SoftLink("/features")
    with pytest.raises(BadDataError, match="another file"):
        read_record(file)


def test_numbers_of_the_own_file_are_read_through_links(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content["group/there"] = np.full((3, 4), 7, np.float32)
        content["features"] = h5py.SoftLink("/group/there")
        content["lost"] = h5py.SoftLink("/nowhere")
    assert len(read_bag(tmp_path / "a.h5")) == 3


def test_a_bag_larger_than_memory_is_refused_before_it_is_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content.create_dataset("features", (10**6, 10**6), np.float32, chunks=(1000, 1000))
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        start, {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**7)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("features.npy", start.getvalue())
    with pytest.raises(BadDataError, match="more than"):
        read_bag(tmp_path / "a.h5")
    with pytest.raises(BadDataError, match=r"a\.npz: not readable"):
        read_bag(tmp_path / "a.npz")


def test_k_space_larger_than_memory_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as content:
        shape = (2, 4, 10**6, 10**6)
        content.create_dataset("kspace", shape, np.complex64, chunks=(1, 1, 1000, 1000))
    with pytest.raises(BadDataError, match="more than"):
        open_kspace(file)
