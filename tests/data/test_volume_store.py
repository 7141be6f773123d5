"""A crop from the store is what was written, wherever it begins and whoever reads it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import sha256, write_json
from medssm.data.volume_files import BLOCK, pack_bits, unpack_bits, volume_file, write_volume
from medssm.data.volume_store import AIR_HU, COLUMNS, VolumeStore

SHAPE = (70, 41, 33)
HU, OTHER = "aabb00", "ccdd11"


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    rows = [",".join(COLUMNS)]
    facts = {HU: "hu,{},1x1x1,1,0,-1000,900,0,400", OTHER: "other,{},1x1x1,0.5,10,20,60,40,9"}
    for name, kind in facts.items():
        voxels = rng.integers(0, 100, SHAPE, dtype=np.int16)
        write_volume(volume_file(tmp_path / "store", name), voxels)
        cells = np.zeros([-(-size // BLOCK) for size in SHAPE], dtype=bool)
        cells[1, 2, 0] = True
        sidecar = volume_file(tmp_path / "store", name).with_suffix(".json")
        write_json(sidecar, {"shape": SHAPE, "occupancy": pack_bits(cells)})
        shape = "x".join(map(str, SHAPE))
        rows.append(
            f"{name},p-{name},{'train' if name == HU else 'val'},{kind.format(shape)},1,0,a b"
        )
    (tmp_path / "volumes.csv").write_text("\n".join(rows) + "\n")
    return VolumeStore(tmp_path)


def _whole(store, name=HU):
    return store.read(name, (0, 0, 0), SHAPE)


@pytest.mark.parametrize("start", [(0, 0, 0), (5, 6, 7), (60, 30, 20), (-4, -50, 2), (69, 0, 0)])
@pytest.mark.parametrize("size", [(1, 1, 1), (16, 9, 40), (80, 60, 50)])
def test_a_crop_is_what_padding_and_slicing_would_give(store, start, size):
    for name, outside in ((HU, AIR_HU), (OTHER, 20)):
        padded = np.pad(_whole(store, name), 100, constant_values=outside)
        ranges = tuple(slice(a + 100, a + 100 + n) for a, n in zip(start, size, strict=True))
        np.testing.assert_array_equal(store.read(name, start, size), padded[ranges])


def test_values_and_windows_follow_the_kind_of_a_volume(store):
    raw = _whole(store, OTHER).astype(np.float32)
    np.testing.assert_allclose(store.values(OTHER, (0, 0, 0), SHAPE), raw * 0.5 + 10)
    window = store.windowed(OTHER, (0, 0, 0), SHAPE)
    np.testing.assert_allclose(window, np.clip((raw * 0.5 + 10 - 20) / 40, 0, 1), atol=1e-6)
    hu = store.windowed(HU, (0, 0, 0), SHAPE, (0, 50))
    np.testing.assert_allclose(hu, np.clip(_whole(store) / 50, 0, 1), atol=1e-6)


def test_random_crops_are_inside_hold_an_occupied_cell_and_follow_the_generator(store):
    size = (24, 24, 24)
    for seed in range(50):
        start = store.start(HU, size, np.random.default_rng(seed))
        assert start == store.start(HU, size, np.random.default_rng(seed))
        for begin, edge, full, cell in zip(start, size, SHAPE, (16, 32, 0), strict=True):
            assert 0 <= begin <= full - edge
            assert begin < cell + BLOCK
            assert begin + edge > cell
    assert store.start(HU, (100, 24, 24), np.random.default_rng(0))[0] == (70 - 100) // 2


def test_threads_read_the_same_as_one(store):
    starts = [(i % 40, i % 20, i % 10) for i in range(200)]

    def crop(start):
        return store.read(HU, start, (30, 20, 20)).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(crop, starts)) == [crop(start) for start in starts]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_the_same_voxels_give_the_same_bytes(tmp_path, codec):
    voxels = np.random.default_rng(1).integers(-1024, 900, (130, 20, 70), dtype=np.int16)
    for name in "ab":
        write_volume(tmp_path / f"{name}.b2nd", voxels, codec)
    assert sha256(tmp_path / "a.b2nd") == sha256(tmp_path / "b.b2nd")


def test_tables_and_splits_are_as_written(store):
    assert store.ids() == (HU, OTHER)
    assert (store.ids("train"), store.ids("val")) == ((HU,), (OTHER,))
    assert store.volumes[HU].flags == ("a", "b")
    assert store.volumes[OTHER].patient == f"p-{OTHER}"


def test_a_damaged_or_missing_volume_is_named_and_never_replaced(store):
    file = volume_file(store.folder / "store", HU)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BadDataError, match=f"{HU}.b2nd.*medssm preprocess"):
        VolumeStore(store.folder).read(HU, (0, 0, 0), SHAPE)
    with pytest.raises(UsageError, match="no volume 'aabb01'; did you mean 'aabb00'"):
        store.read("aabb01", (0, 0, 0), SHAPE)


def test_bits_come_back(store):
    mask = np.random.default_rng(2).random((3, 5, 7)) < 0.3
    np.testing.assert_array_equal(unpack_bits(pack_bits(mask), mask.shape), mask)
