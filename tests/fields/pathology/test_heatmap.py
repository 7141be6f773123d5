"""Heatmaps, GeoJSON and top tiles: aligned to the slide, from features alone where need be."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from medssm.core.errors import BadArgumentError, BadDataError
from medssm.data.bags import Bag
from medssm.data.slides import open_slide
from medssm.fields.pathology.heatmap import HeatmapStyle, TileMap, percentiles, write_heatmap
from medssm.fields.pathology.qupath import write_geojson
from medssm.fields.pathology.top_tiles import write_top_tiles
from tests.support.slides import make_slide, need_pathology

need_pathology()
COORDS = np.array([[0, 0], [128, 0], [256, 128], [512, 384]])
TILES = TileMap(COORDS, 128.0, (640, 512))
SCORES = np.array([0.1, 0.9, 0.5, 0.2])
STYLE = HeatmapStyle(downsample=8)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("slides") / "a.tiff")


def test_each_tile_is_painted_where_it_lies_and_nothing_else(tmp_path):
    file = write_heatmap(tmp_path / "a.png", TILES, SCORES, style=STYLE)
    picture = np.asarray(Image.open(file)).astype(int)
    assert picture.shape == (64, 80, 3)
    painted = np.zeros((64, 80), bool)
    for (x, y), rank in zip(COORDS // 8, [0.0, 1.0, 2 / 3, 1 / 3], strict=True):
        painted[y : y + 16, x : x + 16] = True
        colour = 255 * np.array(colormaps["coolwarm"](rank)[:3])
        expected = np.round(255 * 0.6 + 0.4 * colour)
        assert np.abs(picture[y : y + 16, x : x + 16] - expected).max() <= 1
    assert (picture[~painted] == 255).all()


def test_over_the_slide_the_uncovered_part_is_the_slide(tmp_path, slide):
    file = write_heatmap(tmp_path / "a.png", TILES, SCORES, slide, STYLE)
    picture = np.asarray(Image.open(file))
    bare = write_heatmap(
        tmp_path / "b.png", TileMap(COORDS[:0], 128.0, (640, 512)), [], slide, STYLE
    )
    below = np.asarray(Image.open(bare))
    assert np.array_equal(picture[16:40, 48:], below[16:40, 48:])
    assert not np.array_equal(picture[16:32, 32:48], below[16:32, 32:48])
    told = json.loads(Image.open(file).text["medssm"])
    assert told == {"scale_level0": [8.0, 8.0], "size_level0": [640, 512], "tiles": 4}


def test_overlapping_tiles_are_averaged_and_blur_stays_inside(tmp_path):
    lapped = TileMap(np.array([[0, 0], [64, 0]]), 128.0, (640, 512))
    style = HeatmapStyle(downsample=8, percentile=False, opacity=1.0, colours="gray")
    picture = np.asarray(
        Image.open(write_heatmap(tmp_path / "a.png", lapped, [0.0, 1.0], style=style))
    )
    assert picture[0, [0, 7, 8, 15, 16, 23], 0].tolist() == [0, 0, 128, 128, 255, 255]
    soft = HeatmapStyle(8, False, 0.0, 1.0, "gray", 1.0, blur_tiles=0.3)
    blurred = np.asarray(
        Image.open(write_heatmap(tmp_path / "b.png", lapped, [1.0, 1.0], style=soft))
    )
    assert (blurred[:16, :24] == 255).all()
    assert (blurred[16:] == 255).all()


def test_ranks_are_within_the_slide_and_equal_scores_share_one():
    assert percentiles(np.array([5.0, -1.0, 100.0])).tolist() == [0.5, 0.0, 1.0]
    assert percentiles(np.array([1.0, 1.0, 2.0])).tolist() == [0.25, 0.25, 1.0]
    assert percentiles(np.array([3.0])).tolist() == [0.5]
    assert percentiles(np.zeros(0)).tolist() == []


def test_a_bag_tells_its_own_places(tmp_path):
    facts = {"tile_px_level0": 512.5, "level0_width": 5000, "level0_height": 4000, "origin": [7, 9]}
    bag = Bag("a", np.zeros((4, 2)), COORDS, facts)
    tiles = TileMap.of_bag(bag)
    assert (tiles.tile_px_level0, tiles.size_level0, tiles.origin) == (512.5, (5000, 4000), (7, 9))
    trident = TileMap.of_bag(Bag("a", np.zeros((4, 2)), COORDS, {"patch_size_level0": 512}))
    assert (trident.tile_px_level0, trident.size_level0) == (512.0, (1024, 896))
    clam = TileMap.of_bag(Bag("a", np.zeros((4, 2)), COORDS))
    assert clam.tile_px_level0 == 128.0
    with pytest.raises(BadDataError, match=r"no places of tiles, as in every .pt file"):
        TileMap.of_bag(Bag("a", np.zeros((4, 2)), None))
    with pytest.raises(BadDataError, match="tile_px_level0=512"):
        TileMap.of_bag(Bag("a", np.zeros((1, 2)), COORDS[:1]))


def test_geojson_has_a_square_a_tile_in_the_coordinates_of_qupath(tmp_path):
    tiles = TileMap(COORDS, 128.5, (640, 512), origin=(10, 20))
    content = json.loads(write_geojson(tmp_path / "a.geojson", tiles, SCORES).read_text())
    assert content["type"] == "FeatureCollection"
    second = content["features"][1]
    assert second["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[118, -20], [246.5, -20], [246.5, 108.5], [118, 108.5], [118, -20]]],
    }
    properties = second["properties"]
    assert properties["objectType"] == "tile"
    assert properties["measurements"] == {"attention": 0.9, "rank": 1.0}
    red, _, blue = properties["classification"]["color"]
    assert red > blue


def test_top_tiles_are_the_pixels_of_the_slide_best_first(tmp_path, slide):
    tiles = TileMap(COORDS[:3] + 100, 256.0, (640, 512))
    files = write_top_tiles(tmp_path, tiles, SCORES[:3], slide, count=2)
    assert [file.name for file in files] == ["01_x228_y100.png", "02_x356_y228.png"]
    with open_slide(slide) as opened:
        assert np.array_equal(
            np.asarray(Image.open(files[0])), opened.region((228, 100), 0, (256, 256))
        )


@pytest.mark.parametrize("scores", [SCORES[:3], np.array([0.1, np.nan, 0.2, 0.3])])
@pytest.mark.parametrize("write", [write_heatmap, write_geojson])
def test_scores_that_do_not_fit_are_refused(tmp_path, scores, write):
    with pytest.raises(BadArgumentError, match="one finite score a tile"):
        write(tmp_path / "a", TILES, scores)
    assert not list(tmp_path.iterdir())


def test_another_slide_is_refused(tmp_path, slide):
    other = TileMap(COORDS, 128.0, (6400, 512))
    with pytest.raises(BadDataError, match="640 x 512 pixels; the tiles were cut from 6400 x 512"):
        write_heatmap(tmp_path / "a.png", other, SCORES, slide)
    with pytest.raises(BadDataError, match="no such file"):
        write_heatmap(tmp_path / "a.png", TILES, SCORES, Path("gone.svs"))
