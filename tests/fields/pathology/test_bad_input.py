"""Bad slides: each is named with what is wrong and the remedy, and the others are done."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medssm.data.bags import read_bag
from medssm.data.slides.synthetic import SyntheticShape, synthetic_slide, write_pyramid
from medssm.fields.pathology.encoders import EncoderConfig
from medssm.fields.pathology.preprocess import PreprocessConfig, SlideInput, preprocess_slides
from medssm.fields.pathology.tiling import TileConfig
from tests.support.slides import (
    make_blank,
    make_damaged,
    make_slide,
    make_truncated,
    need_pathology,
)

need_pathology()
CONFIG = PreprocessConfig(
    EncoderConfig("resnet10t", "random", input_px=32, device="cpu"),
    tiles=TileConfig(size_px=64, mpp=0.5),
)


def _raw(content: bytes) -> Callable[[Path, Path], Path]:
    def write(file: Path, _: Path) -> Path:
        file.write_bytes(content)
        return file

    return write


def _at(mpp: float | None) -> Callable[[Path, Path], Path]:
    return lambda file, _: make_slide(file, mpp=mpp)


def _stretched(file: Path, _: Path) -> Path:
    import tifffile

    rgb = synthetic_slide(0, 0, True, SyntheticShape((300, 260))).rgb
    with tifffile.TiffWriter(file) as writer:
        writer.write(
            rgb, tile=(256, 256), photometric="rgb", resolution=(2e4, 1.6e4),
            resolutionunit="CENTIMETER", metadata=None,
        )  # fmt: skip
    return file


def _nothing_decodes(file: Path, whole: Path) -> Path:
    for page, tiles in ((0, 6), (1, 2)):
        for tile in range(tiles):
            whole = make_damaged(file, whole, tile, page)
    return file


# name: how it is made, what is said of it
FAILED: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "missing": (lambda file, _: file, "there is no such file"),
    "empty": (_raw(b""), "the file is empty (0 bytes); copy the file again"),
    "text": (_raw(b"case,label\n" * 20), "not a slide"),
    "picture": (_raw(b"\x89PNG\r\n\x1a\n" + bytes(60)), "Expected SVS, pyramidal TIFF"),
    "head_of_tiff": (_raw(b"II*\0\xff\xff\xff\x7f"), "Is it truncated? Copy the file again"),
    "head_of_dicom": (_raw(bytes(128) + b"DICM" + bytes(99)), "begins as DICOM but cannot be"),
    "cut_to_5": (lambda file, whole: make_truncated(file, whole, 0.05), "truncated: 6 of 6 tiles"),
    "cut_to_40": (lambda file, whole: make_truncated(file, whole, 0.4), "tiles of the base image"),
    "one_tile_damaged": (
        lambda file, whole: make_damaged(file, whole, 1),
        "tiles on tissue cannot be decoded by openslide, the first at [",
    ),
    "nothing_decodes": (_nothing_decodes, "no pixel of level 1 can be decoded"),
    "no_mpp": (_at(None), "tells no micrometres a pixel (mpp) and no magnification; a scanner's"),
    "dpi_72": (_at(25400 / 72), "that is 72 dpi, a printer's value"),
    "dpi_96": (_at(25400 / 96), "that is 96 dpi, a printer's value"),
    "mpp_too_fine": (_at(0.01), "0.01 micrometres a pixel in the file. Expected 0.05 to 20"),
    "stretched": (_stretched, "0.5 micrometres a pixel along x and 0.625 along y"),
    "too_coarse": (
        _at(2.0),
        "cannot be made finer by more than two times; take preprocess.tiles.mpp=2",
    ),
}
DONE: dict[str, Callable[[Path, Path], Path]] = {
    "good": lambda file, _: make_slide(file),
    "blank": lambda file, _: make_blank(file),
    "tiny": lambda file, _: write_pyramid(file, np.full((16, 16, 3), 120, np.uint8), 0.5, 1),
    "cut_to_97": lambda file, whole: make_truncated(file, whole, 0.97),
    "flat": lambda file, _: write_pyramid(
        file, synthetic_slide(0, 0, True, SyntheticShape((640, 512))).rgb, 0.5, 1
    ),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run over all of them, the good one last."""
    folder = tmp_path_factory.mktemp("slides")
    whole = make_slide(folder / "whole.tif")
    makers = {name: make for name, (make, _) in FAILED.items()} | {
        name: DONE[name] for name in ("blank", "tiny", "cut_to_97", "flat", "good")
    }
    slides = {
        name: SlideInput(make(folder / f"{name}.tiff", whole)) for name, make in makers.items()
    }
    return preprocess_slides(CONFIG, slides, folder / "out")


@pytest.mark.parametrize("name", FAILED)
def test_a_bad_slide_is_named_with_the_reason(run, name):
    told = run.failed[name]
    assert f"{name}.tiff: " in told
    assert FAILED[name][1] in told
    assert not (run.folder / f"{name}.h5").exists()


def test_the_others_are_done_and_the_run_ends_with_3(run):
    assert set(run.failed) == set(FAILED)
    assert set(run.done) == set(DONE)
    assert run.exit_code == 3
    assert len(read_bag(run.folder / "good.h5")) > 20


def test_every_remedy_says_what_to_do(run):
    words = (
        "copy",
        "Copy",
        "export it again",
        "Say it with preprocess.mpp",
        "take preprocess.tiles.mpp",
    )
    without = [name for name, told in run.failed.items() if not any(word in told for word in words)]
    assert without == ["missing"]


def test_a_blank_and_a_tiny_slide_have_a_status_and_no_rows(run):
    assert set(run.no_tissue) == {"blank", "tiny"}
    for name in run.no_tissue:
        assert len(read_bag(run.folder / f"{name}.h5")) == 0


def test_a_slide_without_its_tail_gives_what_the_whole_one_gives(run):
    assert list(run.degraded) == ["cut_to_97"]
    cut, good, flat = (
        read_bag(run.folder / f"{name}.h5") for name in ("cut_to_97", "good", "flat")
    )
    assert cut.facts["degraded"].startswith("degraded: openslide")
    assert np.array_equal(cut.coords, flat.coords)
    assert np.allclose(cut.features, flat.features, atol=1e-5)
    assert abs(len(good) - len(flat)) <= 2


def test_the_mpp_that_was_asked_for_mends_the_slide(run, tmp_path):
    files = {name: run.folder.parent / f"{name}.tiff" for name in ("no_mpp", "dpi_72", "stretched")}
    given = {name: SlideInput(file, mpp=0.5) for name, file in files.items()}
    mended = preprocess_slides(CONFIG, given, tmp_path)
    assert (set(mended.done), mended.failed) == (set(files), {})
    good = read_bag(run.folder / "good.h5")
    assert np.array_equal(read_bag(tmp_path / "no_mpp.h5").features, good.features)
