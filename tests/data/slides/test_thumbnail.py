"""Thumbnails: exact means in blocks, whatever the block, and damage that stays where it is."""

import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.data.slides import open_slide, thumbnail
from medssm.data.slides import thumbnail as function
from medssm.data.slides.synthetic import synthetic_slide
from tests.support.slides import SHAPE, make_damaged, make_slide, need_pathology

need_pathology()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("slides") / "whole.tiff")


def test_a_slide_is_averaged_in_blocks_without_seams(whole, monkeypatch):
    import sys

    with open_slide(whole) as slide:
        picture = thumbnail(slide, 7.0)
        monkeypatch.setattr(sys.modules[function.__module__], "_BLOCK_PX", 64)
        blocks = thumbnail(slide, 7.0)
    # level 1 halves, then 3.5 is rounded to 4
    assert picture.scale == (8.0, 8.0)
    assert picture.rgb.shape == (64, 80, 3)
    assert np.array_equal(picture.rgb, blocks.rgb)
    rgb = synthetic_slide(0, 0, True, SHAPE).rgb
    means = rgb.reshape(64, 8, 80, 8, 3).mean(axis=(1, 3))
    assert np.abs(picture.rgb - means).max() <= 1.01


def test_a_size_that_does_not_divide_keeps_its_border(whole):
    with open_slide(whole) as slide:
        picture = thumbnail(slide, 1.5 * 7)
    assert picture.scale == (10.0, 10.0)
    assert picture.rgb.shape == (52, 64, 3)
    # the last row of squares holds 2 of 10 pixels, glass, and no white from outside
    assert np.abs(picture.rgb[-1].astype(int) - [243, 242, 244]).max() < 6


def test_what_cannot_be_decoded_is_unknown_and_no_more_than_that(whole, tmp_path):
    file = make_damaged(tmp_path / "bad.tiff", whole, tile=0, page=0)
    with open_slide(file) as slide:
        picture = thumbnail(slide, 1.9)
    # two pixels of level 0 a pixel; the tile is 256 wide, quarters of the block end at 320
    assert picture.scale == (2.0, 2.0)
    assert picture.unknown[:128, :128].all()
    assert not picture.unknown[128:].any()
    assert not picture.unknown[:, 160:].any()


def test_a_slide_of_which_nothing_can_be_decoded_is_named(whole, tmp_path):
    file = whole
    for tile in range(6):
        file = make_damaged(tmp_path / f"bad{tile}.tiff", file, tile=tile)
    with open_slide(file) as slide, pytest.raises(BadDataError, match="no pixel of level 0"):
        thumbnail(slide, 1.5)
