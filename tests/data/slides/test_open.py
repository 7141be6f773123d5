"""Opening slides: whoever can reads them, and a file that none can read is named."""

import sys

import numpy as np
import pytest

from medssm.core.errors import BadDataError, MachineError, UsageError
from medssm.data.slides import UnreadableRegionError, find_slides, open_slide, read_tile
from medssm.data.slides.synthetic import synthetic_slide
from tests.support.shared import shared_folder
from tests.support.slides import SHAPE, make_damaged, make_slide, make_truncated, need_pathology

need_pathology()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("slides") / "whole.tiff")


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_pixels_levels_and_resolution_are_those_that_were_written(whole, reader):
    rgb = synthetic_slide(0, 0, True, SHAPE).rgb
    with open_slide(whole, reader) as slide:
        assert slide.scan.level_sizes == ((640, 512), (320, 256))
        assert slide.scan.mpp == pytest.approx((0.5, 0.5), rel=1e-5)
        assert np.array_equal(slide.region((100, 200), 0, (64, 32)), rgb[200:232, 100:164])
        coarse = slide.region((50, 100), 1, (20, 10))
    squares = rgb[200:220, 100:140].reshape(10, 2, 20, 2, 3).mean(axis=(1, 3))
    assert np.abs(coarse - squares).max() <= 0.5


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_outside_of_the_slide_is_white(whole, reader):
    with open_slide(whole, reader) as slide:
        corner = slide.region((630, 500), 0, (40, 40))
        before = slide.region((-20, -20), 0, (30, 30))
        far = slide.region((5000, 5000), 0, (8, 8))
        inside = slide.region((630, 500), 0, (10, 12))
    assert (corner[12:] == 255).all()
    assert (corner[:, 10:] == 255).all()
    assert np.array_equal(corner[:12, :10], inside)
    assert (before[:20] == 255).all()
    assert (before[20:, 20:] < 255).any()
    assert (far == 255).all()


def test_a_tile_between_pixels_is_interpolated_and_a_whole_one_is_read_as_it_is(whole):
    with open_slide(whole) as slide:
        exact = read_tile(slide, (64, 64), 128, 128)
        assert np.array_equal(exact, slide.region((64, 64), 0, (128, 128)))
        moved = read_tile(slide, (64.25, 64), 128, 128).astype(float)
        half = read_tile(slide, (64, 64), 256, 128)
        assert np.array_equal(half, slide.region((32, 32), 1, (128, 128)))
        wide = read_tile(slide, (0, 0), 900, 64)
    assert 0 < np.abs(moved - exact).mean() < 4
    assert (wide[:, 50:] == 255).all()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_a_file_cut_in_the_base_image_is_truncated_by_name_and_size(whole, tmp_path, share):
    file = make_truncated(tmp_path / "cut.tiff", whole, share)
    with pytest.raises(BadDataError, match=rf"cut.tiff: truncated.*{file.stat().st_size} bytes"):
        open_slide(file)


@pytest.mark.parametrize("share", [0.9, 0.99])
def test_a_file_cut_behind_the_base_image_is_read_from_it_and_marked(whole, tmp_path, share):
    file = make_truncated(tmp_path / "cut.tiff", whole, share)
    with open_slide(file) as slide, open_slide(whole) as good:
        assert slide.reader == "tiffslide"
        assert slide.degraded.startswith("degraded: openslide")
        assert len(slide.scan.level_sizes) == 1
        assert np.array_equal(
            slide.region((0, 0), 0, slide.size), good.region((0, 0), 0, good.size)
        )


def test_a_flat_tiff_that_openslide_does_not_know_is_read_and_not_called_damaged(tmp_path):
    import tifffile

    pixels = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "flat.tif", pixels, photometric="rgb")
    with open_slide(tmp_path / "flat.tif") as slide:
        assert (slide.reader, slide.degraded) == ("tiffslide", "")
        assert np.array_equal(slide.region((0, 0), 0, (70, 90)), pixels)


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_one_bad_tile_does_not_spoil_the_reads_after_it(whole, tmp_path, reader):
    file = make_damaged(tmp_path / "bad.tiff", whole, tile=1)
    with open_slide(file, reader) as slide, open_slide(whole) as good:
        with pytest.raises(UnreadableRegionError, match=r"bad.tiff: the region at .256, 0."):
            slide.region((256, 0), 0, (64, 64))
        for corner in ((0, 0), (0, 256), (512, 256)):
            again = slide.region(corner, 0, (128, 128))
            assert np.array_equal(again, good.region(corner, 0, (128, 128)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty .0 bytes."),
        (b"not a slide at all" * 9, "not a slide.*162 bytes, beginning with b'not '.*SVS"),
        (b"II*\0\x99\x99\x99\x99", "begins as TIFF but cannot be opened.*8 bytes.*truncated"),
        (b"\0" * 128 + b"DICM" + b"\0" * 40, "begins as DICOM but cannot be opened.*172 bytes"),
    ],
)
def test_what_is_no_slide_is_named_with_its_size(tmp_path, content, words):
    file = tmp_path / "x.svs"
    file.write_bytes(content)
    with pytest.raises((BadDataError, MachineError), match=words):
        open_slide(file)
    with pytest.raises(BadDataError, match=r"y.svs: there is no such file"):
        open_slide(tmp_path / "y.svs")


def test_a_file_that_may_not_be_read_costs_only_itself(whole, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sys.modules[open_slide.__module__], "_kind", refuse)
    with pytest.raises(BadDataError, match=r"whole.tiff: cannot be read .Permission denied."):
        open_slide(whole)


def test_a_reader_is_chosen_by_name(whole):
    with pytest.raises(UsageError, match="did you mean 'openslide'"):
        open_slide(whole, "openslid")


def test_slides_are_found_by_ending_and_names_may_not_repeat(tmp_path):
    for name in ("a.svs", "inner/b.tiff", "notes.txt", ".medssm-partial-01234567-c.tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert list(find_slides(tmp_path)) == ["a", "b"]
    assert list(find_slides(tmp_path / "a.svs")) == ["a"]
    (tmp_path / "inner" / "a.ndpi").write_bytes(b"x")
    with pytest.raises(BadDataError, match="both the slide 'a'"):
        find_slides(tmp_path)
    with pytest.raises(BadDataError, match="no such file or folder"):
        find_slides(tmp_path / "gone")


def test_the_two_files_of_a_dicom_series_are_one_slide():
    pytest.importorskip("pydicom")
    folder = shared_folder("data/pathology/slides")
    names = list(find_slides(folder))
    assert "boxes_0" in names
    assert "boxes_1" not in names
    with open_slide(folder / "boxes_0.dcm") as slide:
        assert slide.scan.mpp == (0.499, 0.499)
        assert slide.region((0, 0), 0, (16, 16)).std() > 0


def test_wsidicom_sees_what_openslide_sees():
    pytest.importorskip("wsidicom")
    folder = shared_folder("data/pathology/slides")
    with (
        open_slide(folder / "boxes_0.dcm", "wsidicom") as ours,
        open_slide(folder / "boxes_0.dcm", "openslide") as theirs,
    ):
        assert ours.scan.level_sizes[0] == theirs.scan.level_sizes[0]
        difference = ours.region((0, 0), 0, (16, 16)).astype(int) - theirs.region(
            (0, 0), 0, (16, 16)
        )
        assert np.abs(difference).max() <= 2
