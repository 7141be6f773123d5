"""Tiles: exact physical size, TRIDENT's whole numbers, CLAM's contours, places from files."""

from types import SimpleNamespace

import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.data.bags import TileCoords, write_tile_coords
from medssm.fields.pathology.contours import ContourFilter
from medssm.fields.pathology.tiling import TileConfig, tile_slide, tissue_share
from medssm.fields.pathology.tissue import TissueMask


def _slide(width=4000, height=3000, levels=((1.0, 1.0),)):
    from pathlib import Path

    sizes = tuple((int(width / x), int(height / y)) for x, y in levels)
    return SimpleNamespace(
        path=Path("s.svs"), size=(width, height), downsamples=levels,
        scan=SimpleNamespace(level_sizes=sizes),
    )  # fmt: skip


def _mask(slide, scale=10.0, everywhere=True):
    shape = (int(slide.size[1] / scale), int(slide.size[0] / scale))
    return TissueMask(np.full(shape, everywhere), (scale, scale), 20.0)


@pytest.mark.parametrize(("mpp", "size"), [(0.25, 512.0), (0.5, 256.0), (0.31, 256 * 0.5 / 0.31)])
def test_a_tile_is_as_wide_on_every_scanner(mpp, size):
    slide = _slide()
    tiling = tile_slide(slide, mpp, _mask(slide), TileConfig(size_px=256, mpp=0.5))
    assert tiling.size_level0 == pytest.approx(size)
    assert tiling.size_level0 * mpp == pytest.approx(128.0)
    columns = np.unique(tiling.coords[:, 0])
    assert columns.tolist() == [round(i * size) for i in range(len(columns))]
    assert len(columns) == int(np.ceil(4000 / size))


def test_tiles_go_along_x_first_and_only_over_tissue():
    slide = _slide()
    tissue = _mask(slide, everywhere=False)
    tissue.mask[100:200, 100:300] = True  # 1000..2000 by 1000..3000
    tiling = tile_slide(slide, 0.5, tissue, TileConfig(least_tissue=0.999))
    assert tiling.coords[:2].tolist() == [[1024, 1024], [1280, 1024]]
    assert (tiling.coords >= 1000).all()
    assert (tiling.coords + 256 <= [3000, 2000]).all()
    assert len(tiling.coords) == 7 * 3
    some = tile_slide(slide, 0.5, tissue, TileConfig(least_tissue=0.0))
    assert len(some.coords) == 9 * 5


def test_the_share_of_tissue_counts_parts_of_pixels():
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:6] = True
    tissue = TissueMask(mask, (10.0, 20.0), 20.0)
    coords = np.array([[25, 30], [30, 40], [55, 70], [0, 0], [75, 110]])
    # the first: x 25..45 covers 30..45, y 30..50 covers 40..50
    share = tissue_share(tissue, coords, 20.0)
    assert share == pytest.approx([15 * 10 / 400, 1.0, 5 * 10 / 400, 0.0, 0.0])


def test_overlap_order_and_border_do_what_they_say():
    slide = _slide(1000, 700)
    tissue = _mask(slide)
    whole = tile_slide(slide, 0.5, tissue, TileConfig())
    assert len(whole.coords) == 4 * 3
    inner = tile_slide(slide, 0.5, tissue, TileConfig(border="drop"))
    assert len(inner.coords) == 3 * 2
    lapped = tile_slide(slide, 0.5, tissue, TileConfig(overlap_px=128))
    assert np.diff(np.unique(lapped.coords[:, 0])).tolist() == [128] * 7
    column = tile_slide(slide, 0.5, tissue, TileConfig(order="column"))
    assert column.coords[:2].tolist() == [[0, 0], [0, 256]]


@pytest.mark.parametrize(
    ("mpp", "power", "size"), [(0.25, 40, 512), (0.31, 20, 256), (0.55, 20, 256), (0.12, 80, 1024)]
)
def test_trident_sizes_come_from_buckets_of_magnification(mpp, power, size):
    slide = _slide()
    tiling = tile_slide(slide, mpp, _mask(slide), TileConfig("trident", 256, magnification=20))
    assert (tiling.magnification, tiling.size_level0) == (power, size)
    assert np.unique(tiling.coords[:, 0]).tolist() == list(range(0, 4000, size))


def test_trident_divides_in_whole_numbers():
    slide = _slide()
    config = TileConfig("trident", 255, magnification=60, overlap_px=31)
    tiling = tile_slide(slide, 0.12, _mask(slide), config)
    # 255 * 80 // 60 and 31 * 80 // 60
    assert tiling.size_level0 == 340
    assert np.diff(np.unique(tiling.coords[:, 0]))[0] == 340 - 41


def test_clam_begins_at_each_contour_and_goes_along_y_first():
    slide = _slide(8000, 6000, ((1.0, 1.0), (2.0, 2.0)))
    tissue = _mask(slide, 10.0, everywhere=False)
    tissue.mask[20:60, 30:110] = True  # y 200..590, x 300..1090 through pixel middles
    tissue.mask[300:360, 500:560] = True
    config = TileConfig("clam", 256, contours=ContourFilter(0, 16, 8))
    tiling = tile_slide(slide, 0.5, tissue, config)
    assert (tiling.size_level0, tiling.size_px) == (256.0, 256)
    # the lower contour comes first, as in OpenCV
    assert tiling.coords[:3].tolist() == [[5000, 3000], [5000, 3256], [5000, 3512]]
    upper = tiling.coords[tiling.coords[:, 1] < 1000]
    # the four points of the column at 1068 lie right of the contour
    assert upper.tolist() == [[300 + 256 * i, 200 + 256 * j] for i in range(3) for j in range(2)]
    double = tile_slide(
        slide, 0.5, tissue, TileConfig("clam", 256, level=1, contours=config.contours)
    )
    assert double.size_level0 == 512.0
    assert double.coords[double.coords[:, 1] < 1000].tolist() == [[300, 200], [812, 200]]


def test_clam_leaves_out_tiles_in_large_holes_and_all_tissue_below_its_filter():
    slide = _slide(8000, 6000)
    tissue = _mask(slide, 10.0, everywhere=False)
    tissue.mask[10:590, 10:790] = True
    tissue.mask[100:500, 100:700] = False
    tiles = tile_slide(slide, 0.5, tissue, TileConfig("clam", contours=ContourFilter(1, 16, 8)))
    centres = tiles.coords + 128
    inside = ((centres > 1000) & (centres < [6990, 4990])).all(axis=1)
    assert not inside.any()
    assert len(tiles.coords) > 200
    assert len(tile_slide(slide, 0.5, tissue, TileConfig("clam")).coords) == 0


def test_places_of_another_tool_are_taken_as_they_are(tmp_path):
    pytest.importorskip("h5py")
    slide = _slide()
    coords = np.array([[7, 5], [519, 5]])
    tiles = TileCoords("s", coords, 256, 512.0, 0, (4000, 3000))
    for layout, name in (("clam", "s.h5"), ("trident", "s_patches.h5")):
        folder = tmp_path / layout
        write_tile_coords(folder / name, tiles, layout)
        tiling = tile_slide(slide, 0.25, _mask(slide), TileConfig("file", coords=str(folder)))
        assert np.array_equal(tiling.coords, coords)
        assert tiling.size_level0 == 512.0
    with pytest.raises(BadDataError, match=r"neither s.h5 nor s_patches.h5 is there"):
        tile_slide(slide, 0.25, _mask(slide), TileConfig("file", coords=str(tmp_path)))
    other = _slide(9000, 3000)
    with pytest.raises(BadDataError, match=r"slide of 4000 x 3000 pixels, s.svs has 9000 x 3000"):
        tile_slide(other, 0.25, _mask(other), TileConfig("file", coords=str(folder)))


def test_a_slide_that_is_too_coarse_is_named_with_what_it_can():
    slide = _slide()
    with pytest.raises(BadDataError, match=r"s.svs: 2 micrometres.*take preprocess.tiles.mpp=2"):
        tile_slide(slide, 2.0, _mask(slide), TileConfig(mpp=0.5))
    with pytest.raises(
        BadDataError, match=r"counts as 10x.*Take preprocess.tiles.magnification=10"
    ):
        tile_slide(slide, 0.9, _mask(slide), TileConfig("trident"))
    with pytest.raises(BadDataError, match=r"levels 0 to 0.*level 2.*preprocess.tiles.mode=mpp"):
        tile_slide(slide, 0.5, _mask(slide), TileConfig("clam", level=2))


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"overlap_px": 256}, "overlap below the size"),
        ({"size_px": 0}, "at least 8 pixels"),
        ({"mpp": 0.0}, "mpp=0.0.*expected above 0"),
        ({"mode": "file"}, "preprocess.tiles.coords=FOLDER"),
    ],
)
def test_wishes_that_cannot_be_are_refused(wishes, words):
    with pytest.raises(UsageError, match=words):
        TileConfig(**wishes)
