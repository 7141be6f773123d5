"""The real slides: tissue, tiles of 0.5 micrometres, features, pictures that lie on the tissue."""

import json

import numpy as np
import pytest
from PIL import Image

from medssm.data.bags import read_bag
from medssm.data.slides import find_slides, open_slide, read_tile
from medssm.fields.pathology.encoders import EncoderConfig
from medssm.fields.pathology.heatmap import HeatmapStyle, TileMap, write_heatmap
from medssm.fields.pathology.preprocess import PreprocessConfig, SlideInput, preprocess_slides
from medssm.fields.pathology.qupath import write_geojson
from medssm.fields.pathology.tiling import TileConfig
from medssm.fields.pathology.top_tiles import write_top_tiles
from tests.support.shared import shared_folder
from tests.support.slides import make_truncated, need_pathology

need_pathology()
REAL = "cmu-1-small-region"
CONFIG = PreprocessConfig(
    EncoderConfig("resnet10t", "random", input_px=64, device="cpu"),
    tiles=TileConfig(size_px=256, mpp=0.5),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    slides = {
        name: SlideInput(file)
        for name, file in find_slides(shared_folder("data/pathology/slides")).items()
    }
    folder = tmp_path_factory.mktemp("real")
    whole = slides[REAL].path
    for share in (0.5, 0.95):
        file = make_truncated(folder / f"cut_{share}.svs", whole, share)
        slides[f"cut_{share}"] = SlideInput(file)
    return whole, preprocess_slides(CONFIG, slides, folder / "out")


def test_the_broken_ones_are_named_and_cost_only_themselves(run):
    _, report = run
    assert report.exit_code == 3
    assert set(report.failed) == {
        "boxes", "broken", "unreadable", "tcga-cr-7395-01a-01-ts1", "cut_0.5",
    }  # fmt: skip
    assert "72 dpi" in report.failed["boxes"]
    assert "1001 bytes" in report.failed["broken"]
    assert "no pixel of level 0" in report.failed["unreadable"]
    assert "truncated" in report.failed["cut_0.5"]
    assert {REAL, "cut_0.95", "boxes_0", "small"} == set(report.done)
    assert list(report.degraded) == ["cut_0.95"]


def test_the_slide_without_mpp_asks_for_it_and_is_done_with_it(run, tmp_path):
    _, report = run
    name = "tcga-cr-7395-01a-01-ts1"
    assert "mpp=0.25" in report.failed[name]
    slide = find_slides(shared_folder("data/pathology/slides"))[name]
    config = PreprocessConfig(CONFIG.encoder, tiles=TileConfig(size_px=256, mpp=2.0), mpp=0.5)
    again = preprocess_slides(config, {name: SlideInput(slide)}, tmp_path)
    assert again.done == (name,)
    bag = read_bag(tmp_path / f"{name}.h5")
    assert bag.facts["tile_px_level0"] == 1024
    assert 6 <= len(bag) <= 20


def test_tiles_are_half_a_micrometre_a_pixel_and_lie_on_tissue(run):
    slide, report = run
    bag = read_bag(report.folder / f"{REAL}.h5")
    assert bag.features.shape == (len(bag), 512)
    assert 35 <= len(bag) <= 50
    assert bag.facts["tile_px_level0"] == pytest.approx(256 * 0.5 / 0.499)
    assert 0.25 < bag.facts["tissue_share"] < 0.45
    with open_slide(slide) as opened:
        colour = []
        for xy in bag.coords:
            pixels = read_tile(opened, tuple(xy), 256.5, 256).astype(float)
            colour.append(((pixels.max(-1) - pixels.min(-1)) > 20).mean())
    assert min(colour) > 0.15
    assert np.mean(colour) > 0.5


def test_the_cut_slide_gives_the_same_features_from_its_base(run):
    _, report = run
    whole, cut = (read_bag(report.folder / f"{name}.h5") for name in (REAL, "cut_0.95"))
    assert np.array_equal(whole.coords, cut.coords)
    assert np.allclose(whole.features, cut.features, atol=1e-4)


def test_heatmap_geojson_and_top_tiles_lie_on_the_slide(run, tmp_path):
    slide, report = run
    bag = read_bag(report.folder / f"{REAL}.h5")
    tiles = TileMap.of_bag(bag)
    scores = bag.features.mean(axis=1)
    style = HeatmapStyle(downsample=8)
    heat = Image.open(write_heatmap(tmp_path / "a.png", tiles, scores, slide, style))
    empty = TileMap(bag.coords[:0], tiles.tile_px_level0, tiles.size_level0)
    bare = Image.open(write_heatmap(tmp_path / "b.png", empty, scores[:0], slide, style))
    changed = (np.asarray(heat) != np.asarray(bare)).any(axis=-1)
    scale = json.loads(heat.text["medssm"])["scale_level0"]
    assert (heat.width - 1) * scale[0] < 2220 <= heat.width * scale[0]
    features = json.loads(write_geojson(tmp_path / "a.geojson", tiles, scores).read_text())
    inside = np.zeros_like(changed)
    for feature, xy in zip(features["features"], bag.coords, strict=True):
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert ring[0].tolist() == xy.tolist()
        left, top = np.round(ring.min(0) / scale).astype(int)
        right, bottom = np.round(ring.max(0) / scale).astype(int)
        inside[top:bottom, left:right] = True
        assert changed[top:bottom, left:right].mean() > 0.5
    assert not (changed & ~inside).any()
    best = write_top_tiles(tmp_path / "top", tiles, scores, slide, 3)
    x, y = bag.coords[int(scores.argmax())]
    assert best[0].name == f"01_x{x}_y{y}.png"
