"""Readers refuse what is cut off by one byte, and what no memory holds, before they read it."""

import gzip
import struct
import tracemalloc

import imageio.v3 as imageio
import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile

from medssm.core import memory
from medssm.core.errors import BadDataError
from medssm.data.integrity import check_image_file
from medssm.data.readers import reader_of, size

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (21, 30), dtype=np.uint8)
STACK = RNG.integers(0, 60_000, (5, 20, 30), dtype=np.uint16)
TIFFS = {
    "stack": {}, "big": {"bigtiff": True}, "packed": {"compression": "zlib"},
    "tiled": {"tile": (16, 16)}, "motorola": {"byteorder": ">"}, "strips": {"rowsperstrip": 4},
}  # fmt: skip
# bytes at the end that nothing in the file points to: tifffile shares a value between pages
_UNUSED = {"stack": 16, "motorola": 16, "strips": 26}


@pytest.fixture(params=["grey.png", "colour.png", "deep.png", "grey.bmp", "colour.bmp", *TIFFS])
def picture(request, tmp_path):
    """A whole picture, and its voxels as they were written."""
    name = request.param
    if name in TIFFS:
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, STACK, **TIFFS[name])
        return path, STACK
    pixels = {"deep.png": STACK[0], "grey.png": GREY, "grey.bmp": GREY}.get(
        name, RNG.integers(0, 255, (21, 30, 3), dtype=np.uint8)
    )
    imageio.imwrite(tmp_path / name, pixels)
    return tmp_path / name, pixels


def test_a_whole_picture_is_read(picture):
    path, pixels = picture
    axes = pixels.ndim - (path.name.startswith("colour"))
    expected = pixels.transpose((*reversed(range(axes)), *range(axes, pixels.ndim)))
    assert np.array_equal(reader_of(path).array(path), expected)


@pytest.mark.parametrize("missing", [1, 2, 13, 100])
def test_a_picture_that_lacks_its_last_bytes_is_refused(picture, missing):
    path, _ = picture
    path.write_bytes(path.read_bytes()[: -missing - _UNUSED.get(path.stem, 0)])
    with pytest.raises(BadDataError, match=path.name):
        reader_of(path).array(path)


@pytest.mark.parametrize("name", ["grey.png", "grey.bmp", "stack.tif"])
def test_one_byte_less_is_called_truncated(tmp_path, name):
    path = tmp_path / name
    imageio.imwrite(path, GREY)
    path.write_bytes(path.read_bytes()[:-1])
    (finding,) = check_image_file(path)
    assert (finding.severity, finding.problem) == ("error", "truncated")


def test_a_png_with_a_changed_byte_is_refused(tmp_path):
    path = tmp_path / "a.png"
    imageio.imwrite(path, GREY)
    content = bytearray(path.read_bytes())
    content[-20] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(BadDataError, match="checksum of IDAT"):
        reader_of(path).array(path)


def _claiming(path, edge):
    """A file of 100 voxels whose header claims edge x edge x edge."""
    if path.name.endswith((".nii", ".nii.gz")):
        image = nibabel.Nifti2Image(np.zeros((10, 10, 1), np.uint8), np.eye(4))
        image.header["dim"][1:4] = edge
        head = image.header.binaryblock + bytes(104)
        pack = gzip.compress if path.name.endswith(".gz") else bytes
        path.write_bytes(pack(head))
    elif path.suffix == ".mha":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 2, 2), np.uint8)), str(path))
        content = path.read_bytes()
        path.write_bytes(content.replace(b"DimSize = 2 2 2", b"DimSize = %d %d %d" % ((edge,) * 3)))
    elif path.suffix == ".nrrd":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 2, 2), np.uint8)), str(path))
        content = path.read_bytes()
        path.write_bytes(content.replace(b"sizes: 2 2 2", b"sizes: %d %d %d" % ((edge,) * 3)))
    else:
        tifffile.imwrite(path, GREY, metadata=None)
        content = bytearray(path.read_bytes())
        for tag in (256, 257):
            at = content.find(struct.pack("<HH", tag, 3)), content.find(struct.pack("<HH", tag, 4))
            struct.pack_into("<HII", content, max(at) + 2, 4, 1, edge)
        path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.tif"])
def test_a_header_that_claims_too_much_is_named_and_takes_no_memory(tmp_path, name):
    path = tmp_path / name
    _claiming(path, 100_000)
    tracemalloc.start()
    (finding,) = check_image_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert finding.severity == "error"
    assert "the header claims 100000x100000" in finding.found
    assert peak < 20e6


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.png"])
def test_a_volume_larger_than_free_memory_is_named_with_both_numbers(tmp_path, name, monkeypatch):
    path = tmp_path / name
    if name.endswith(".png"):
        imageio.imwrite(path, GREY)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((9, 9, 9), np.int16)), str(path))
    monkeypatch.setattr(size, "free_bytes", lambda: 100)
    with pytest.raises(BadDataError, match=r"0\.0 GB to read; 0\.0 GB of memory are free"):
        reader_of(path).array(path)


def test_the_free_memory_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_bytes() == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes() != 600_000
