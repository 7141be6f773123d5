"""Tissue: found where it was drawn, and none on glass, however noisy."""

import numpy as np
import pytest

from medssm.data.slides import open_slide
from medssm.data.slides.synthetic import synthetic_slide, write_pyramid
from medssm.fields.pathology.tissue import TissueConfig, clam_mask, find_tissue, trusted_threshold
from tests.support.slides import SHAPE, make_blank, make_slide, need_pathology

need_pathology()


def _mask(file, config=None):
    with open_slide(file) as slide:
        return find_tissue(slide, 0.5, config or TissueConfig())


@pytest.mark.parametrize("method", ["otsu", "clam"])
def test_tissue_is_found_where_it_was_drawn(tmp_path, method):
    truth = synthetic_slide(0, 0, True, SHAPE).tissue
    found = _mask(make_slide(tmp_path / "a.tiff"), TissueConfig(method, mpp=4.0))
    step = int(found.scale[0])
    drawn = truth[step // 2 :: step, step // 2 :: step]
    overlap = 2 * (found.mask & drawn).sum() / (found.mask.sum() + drawn.sum())
    assert found.reason == ""
    assert overlap > 0.95


@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0, 12.0])
def test_blank_glass_has_no_tissue_and_says_why(tmp_path, noise):
    found = _mask(make_blank(tmp_path / "a.tiff", noise))
    assert not found.mask.any()
    assert found.threshold is None
    assert "saturation" in found.reason


def test_otsu_alone_would_have_divided_that_glass():
    """What the guard is for: Otsu's threshold puts a large part of noise above itself."""
    noise = np.abs(np.random.default_rng(0).normal(6, 2, 10000))
    assert trusted_threshold(noise, TissueConfig())[0] is None
    skimage = pytest.importorskip("skimage.filters")
    assert (noise > skimage.threshold_otsu(noise)).mean() > 0.3


def test_a_threshold_that_divides_is_otsus():
    skimage = pytest.importorskip("skimage.filters")
    rng = np.random.default_rng(0)
    two = np.round(np.concatenate([rng.normal(8, 2, 3000), rng.normal(90, 15, 1000)])).clip(0, 255)
    found, reason = trusted_threshold(two, TissueConfig())
    assert reason == ""
    same = skimage.threshold_otsu(two.astype(np.uint8))
    assert np.array_equal(two > max(found, 20), two > max(same, 20))


def test_each_part_of_the_guard_holds_by_itself():
    # set off from the glass, yet hardly coloured
    pale = np.repeat([1.0, 18.0], 500)
    found, reason = trusted_threshold(pale, TissueConfig())
    assert found is None
    assert "saturation 18, below 20" in reason
    assert trusted_threshold(pale, TissueConfig(floor=10.0))[0] == 10.0
    # coloured, yet not set off from the tinted glass
    tinted = np.repeat([24.0, 34.0], 500)
    found, reason = trusted_threshold(tinted, TissueConfig())
    assert found is None
    assert "nothing stands out from the glass" in reason
    assert trusted_threshold(tinted, TissueConfig(separation=5.0))[0] is not None


def test_a_slide_that_is_tissue_all_over_is_tissue():
    even = np.random.default_rng(0).normal(110, 12, 4000)
    assert trusted_threshold(even, TissueConfig()) == (20.0, "")
    assert trusted_threshold(np.full(100, 90.0), TissueConfig()) == (20.0, "")
    assert trusted_threshold(np.zeros(0), TissueConfig())[0] is None


def test_pen_and_dust_are_no_tissue(tmp_path):
    rgb = np.full((512, 640, 3), 242, np.uint8)
    rgb[100:200, 100:300] = (20, 21, 24)
    rgb[300:308, 300:308] = (200, 80, 150)
    found = _mask(write_pyramid(tmp_path / "a.tiff", rgb, 0.5, 1))
    assert not found.mask.any()


def test_small_holes_are_closed_and_large_ones_stay(tmp_path):
    rgb = np.full((1024, 1024, 3), 242, np.uint8)
    rgb[100:900, 100:900] = (210, 120, 170)
    rgb[200:240, 200:240] = 242
    rgb[500:800, 500:800] = 242
    found = _mask(write_pyramid(tmp_path / "a.tiff", rgb, 0.5, 1))
    at = [int(220 / found.scale[0]), int(650 / found.scale[0])]
    assert found.mask[at[0], at[0]]
    assert not found.mask[at[1], at[1]]


def test_clams_mask_is_opencvs_to_the_pixel():
    """Sums of rows and columns of cvtColor, medianBlur 7, threshold 8, closing 4 of OpenCV 5.0."""
    y, x = np.mgrid[0:48, 0:60]
    rgb = np.full((48, 60, 3), 243, np.uint8)
    rgb[(x - 25) ** 2 + (y - 20) ** 2 < 150] = (226, 168, 200)
    rgb[(x - 40) ** 2 + (y - 30) ** 2 < 40] = (176, 120, 178)
    rgb[(x - 25) ** 2 + (y - 20) ** 2 < 30] = (240, 238, 241)
    rgb[::7, ::5] = (200, 100, 100)
    rgb[40:44, 3:9] = (243, 233, 243)
    mask = clam_mask(rgb)
    assert mask.sum(0).tolist() == [0] * 14 + [
        5, 11, 14, 17, 19, 21, 21, 23, 18, 18, 16, 16, 16, 16, 16, 18, 18, 23, 22, 22, 21, 21, 20,
        20, 17, 14, 13, 12, 11, 11, 9, 8, 5,
    ] + [0] * 13  # fmt: skip
    assert mask.sum(1).tolist() == [0] * 9 + [
        7, 11, 15, 17, 19, 19, 21, 23, 18, 16, 16, 16, 16, 16, 17, 19, 22, 29, 29, 30, 30, 29, 28,
        26, 19, 10, 9, 5,
    ] + [0] * 11  # fmt: skip
