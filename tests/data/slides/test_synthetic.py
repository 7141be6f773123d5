"""Synthetic slides: a function of the seed, with tissue, lesions and a table that says which."""

import json

import numpy as np

from medssm.data.bags import read_slide_table
from medssm.data.slides import find_slides, open_slide
from medssm.data.slides.synthetic import SyntheticShape, make_synthetic_slides, synthetic_slide
from tests.support.slides import SHAPE, need_pathology

need_pathology()


def test_a_slide_is_a_function_of_seed_and_index():
    one, same = (synthetic_slide(3, 1, True, SHAPE) for _ in range(2))
    other = synthetic_slide(4, 1, True, SHAPE)
    assert np.array_equal(one.rgb, same.rgb)
    assert not np.array_equal(one.rgb, other.rgb)
    assert one.lesion.any()
    assert not (one.lesion & ~one.tissue).any()
    assert not synthetic_slide(3, 1, False, SHAPE).lesion.any()
    assert one.rgb[one.lesion].mean() < one.rgb[one.tissue & ~one.lesion].mean() - 20


def test_the_folder_holds_slides_lesions_and_labels(tmp_path):
    shape = SyntheticShape(size=(600, 520), levels=2)
    table = read_slide_table(make_synthetic_slides(tmp_path, 3, 0, shape))
    assert [row.label for row in table.values()] == ["normal", "tumour", "normal"]
    assert list(find_slides(tmp_path)) == list(table)
    with open_slide(tmp_path / "slide_001.tiff") as slide:
        assert slide.reader == "openslide"
        assert slide.size == (600, 520)
    for name, lesions in (("slide_000", 0), ("slide_001", 2)):
        content = json.loads((tmp_path / "lesions" / f"{name}.geojson").read_text())
        assert len(content["features"]) == lesions


def test_a_slide_may_hide_its_resolution(tmp_path):
    make_synthetic_slides(tmp_path, 1, 0, SyntheticShape(size=(300, 260), mpp=None, levels=1))
    with open_slide(tmp_path / "slide_000.tiff") as slide:
        assert slide.scan.mpp is None
