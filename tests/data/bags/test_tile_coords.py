"""Places of tiles in the files of CLAM and TRIDENT, both ways."""

import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.data.bags import TileCoords, read_tile_coords, write_tile_coords

h5py = pytest.importorskip("h5py")
COORDS = np.array([[0, 0], [1024, 512], [2048, 512]])
TILES = TileCoords(
    "s", COORDS, 256, 512.0, 0, (8000, 6000),
    {"level0_magnification": 40, "target_magnification": 20, "read_level": 1,
     "level_downsample": 2.0},
)  # fmt: skip


@pytest.mark.parametrize("layout", ["clam", "trident"])
def test_what_is_written_comes_back_in_pixels_of_level_0(tmp_path, layout):
    file = write_tile_coords(tmp_path / "patches" / "s_patches.h5", TILES, layout)
    tiles = read_tile_coords(file)
    assert np.array_equal(tiles.coords, COORDS)
    assert (tiles.name, tiles.tile_px, tiles.tile_px_level0) == ("s", 256, 512.0)
    assert tiles.size_level0 == (8000, 6000)


def test_attributes_are_those_of_each_tool(tmp_path):
    write_tile_coords(tmp_path / "a.h5", TILES, "clam")
    with h5py.File(tmp_path / "a.h5") as file:
        facts = dict(file["coords"].attrs)
    assert (facts["patch_size"], facts["patch_level"]) == (256, 1)
    assert facts["downsample"].tolist() == [2.0, 2.0]
    assert facts["downsampled_level_dim"].tolist() == [4000, 3000]
    assert set(facts) == {"patch_size", "patch_level", "downsample", "downsampled_level_dim",
                          "level_dim", "name", "save_path"}  # fmt: skip
    write_tile_coords(tmp_path / "b.h5", TILES, "trident")
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["coords"].attrs["patch_size_level0"] == 512
        assert file["coords"].attrs["level0_magnification"] == 40


def test_places_alone_do_not_tell_how_large_a_tile_is(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["coords"] = COORDS
    with pytest.raises(BadDataError, match=r"attributes of coords are none.*how large a tile is"):
        read_tile_coords(tmp_path / "a.h5")


def test_a_file_of_features_without_places_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.zeros((2, 3))
    with pytest.raises(BadDataError, match=r"holds features\. Expected the dataset coords"):
        read_tile_coords(tmp_path / "a.h5")
