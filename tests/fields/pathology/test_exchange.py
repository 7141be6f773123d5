"""Our features in the folders of CLAM and TRIDENT, and back."""

from dataclasses import replace

import numpy as np
import pytest

from medssm.core.errors import UsageError
from medssm.data.bags import find_bags, read_bag, read_tile_coords, write_tile_coords
from medssm.fields.pathology.encoders import EncoderConfig
from medssm.fields.pathology.preprocess import PreprocessConfig, SlideInput, preprocess_slides
from medssm.fields.pathology.tiling import TileConfig
from tests.support.slides import make_blank, make_slide, need_pathology

need_pathology()
ENCODER = EncoderConfig("resnet10t", "random", input_px=32, device="cpu")
TILES = TileConfig("trident", size_px=64)
CONFIG = PreprocessConfig(ENCODER, tiles=TILES, also=("clam", "trident"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    slides = {
        "a": SlideInput(make_slide(folder / "a.tiff")),
        "blank": SlideInput(make_blank(folder / "blank.tiff")),
    }
    preprocess_slides(CONFIG, slides, folder / "out")
    return slides, folder / "out"


@pytest.mark.parametrize("tool", ["clam", "trident"])
def test_both_folders_are_read_back_as_the_same_bag(store, tool):
    _, folder = store
    ours = read_bag(folder / "a.h5")
    theirs = read_bag(find_bags(folder / tool)["a"])
    assert np.array_equal(theirs.features, ours.features)
    assert np.array_equal(theirs.coords, ours.coords)
    places = next((folder / tool).glob("**/patches/a*.h5"))
    tiles = read_tile_coords(places)
    assert np.array_equal(tiles.coords, ours.coords)
    assert (tiles.tile_px, tiles.tile_px_level0) == (64, 64.0)
    assert tiles.size_level0 == (640, 512)


def test_a_slide_without_tiles_is_left_to_each_tools_habit(store):
    _, folder = store
    assert list(find_bags(folder / "clam")) == ["a"]
    assert len(read_bag(find_bags(folder / "trident")["blank"])) == 0
    assert (folder / "trident" / "20x_64px_0px_overlap" / "features_resnet10t").is_dir()


def test_what_another_tool_has_placed_is_encoded_in_its_places(store, tmp_path):
    slides, folder = store
    given = TileConfig("file", coords=str(folder / "trident" / "20x_64px_0px_overlap" / "patches"))
    config = PreprocessConfig(ENCODER, tiles=given)
    report = preprocess_slides(config, {"a": slides["a"]}, tmp_path)
    assert report.done == ("a",)
    same = read_bag(tmp_path / "a.h5")
    ours = read_bag(folder / "a.h5")
    assert np.array_equal(same.coords, ours.coords)
    assert np.allclose(same.features, ours.features, atol=1e-5)


def test_places_that_have_changed_are_encoded_again(store, tmp_path):
    slides, folder = store
    places = tmp_path / "places"
    tiles = read_tile_coords(next((folder / "clam" / "patches").glob("a.h5")))
    config = PreprocessConfig(ENCODER, tiles=TileConfig("file", coords=str(places)))
    for count in (5, 5, 3):
        write_tile_coords(places / "a.h5", replace(tiles, coords=tiles.coords[:count]), "clam")
        preprocess_slides(config, {"a": slides["a"]}, tmp_path / "out")
        assert len(read_bag(tmp_path / "out" / "a.h5")) == count
    assert preprocess_slides(config, {"a": slides["a"]}, tmp_path / "out").skipped == ("a",)


def test_files_are_written_later_too_and_left_alone_when_there(store):
    slides, folder = store
    before = {path: path.stat().st_mtime_ns for path in (folder / "clam").rglob("*.h5")}
    assert preprocess_slides(CONFIG, slides, folder).skipped == ("a", "blank")
    assert {path: path.stat().st_mtime_ns for path in (folder / "clam").rglob("*.h5")} == before
    next(iter(before)).unlink()
    preprocess_slides(CONFIG, slides, folder)
    assert set((folder / "clam").rglob("*.h5")) == set(before)


def test_an_unknown_tool_is_refused():
    with pytest.raises(UsageError, match="did you mean 'trident'"):
        PreprocessConfig(ENCODER, also=("tridant",))
