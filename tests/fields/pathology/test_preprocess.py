"""Preprocessing: every slide for itself, resumable, whole files or none, failed tiles counted."""

import json
from dataclasses import replace

import numpy as np
import pytest

from medssm.core.files import TEMPORARY_MARK
from medssm.core.signature import make
from medssm.data.bags import read_bag
from medssm.data.slides import open_slide, read_tile
from medssm.fields.pathology import preprocess as module
from medssm.fields.pathology.encoders import EncoderConfig, build_encoder
from medssm.fields.pathology.preprocess import (
    PreprocessConfig,
    SlideInput,
    preprocess_slides,
    store_folder,
)
from medssm.fields.pathology.tiling import TileConfig
from tests.support.slides import make_blank, make_damaged, make_slide, need_pathology

need_pathology()
ENCODER = EncoderConfig("resnet10t", "random", input_px=32, device="cpu", batch_size=8)
CONFIG = PreprocessConfig(ENCODER, tiles=TileConfig(size_px=64, mpp=0.5))


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return {f"s{i}": SlideInput(make_slide(folder / f"s{i}.tiff", i)) for i in range(3)}


def test_features_are_those_of_the_tiles_at_their_places(tmp_path, slides):
    report = preprocess_slides(CONFIG, slides, tmp_path)
    assert (report.done, report.failed, report.exit_code) == (("s0", "s1", "s2"), {}, 0)
    bag = read_bag(tmp_path / "s1.h5")
    assert report.tiles == sum(len(read_bag(tmp_path / f"s{i}.h5")) for i in range(3))
    encoder = build_encoder(ENCODER)
    with open_slide(slides["s1"].path) as slide:
        tiles = [read_tile(slide, tuple(xy), 64, 64) for xy in bag.coords]
    import torch

    assert np.allclose(encoder(torch.from_numpy(np.stack(tiles))).numpy(), bag.features, atol=1e-5)
    facts = bag.facts
    assert (facts["patch_size"], facts["patch_size_level0"], facts["overlap"]) == (64, 64, 0)
    assert (facts["mpp_level0"], facts["mpp_target"]) == pytest.approx((0.5, 0.5), rel=1e-5)
    assert (facts["encoder"], facts["encoder_sha256"]) == ("resnet10t", "random, seed 0")
    assert (facts["order"], facts["n_failed_tiles"], facts["reader"]) == ("row", 0, "openslide")
    assert (facts["level0_width"], facts["level0_height"]) == (640, 512)
    card = json.loads((tmp_path / "encoder.json").read_text())
    assert (card["architecture"], card["input_px"]) == ("resnet10t", 32)


def test_batches_threads_and_runs_do_not_change_the_places(tmp_path, slides):
    one = {"s0": slides["s0"]}
    preprocess_slides(CONFIG, one, tmp_path / "a")
    other = PreprocessConfig(
        EncoderConfig("resnet10t", "random", input_px=32, batch_size=3, device="cpu"),
        tiles=CONFIG.tiles, threads=3,
    )  # fmt: skip
    assert other.settings() == CONFIG.settings()
    preprocess_slides(other, one, tmp_path / "b")
    first, second = (read_bag(tmp_path / name / "s0.h5") for name in "ab")
    assert np.array_equal(first.coords, second.coords)
    assert np.allclose(first.features, second.features, atol=1e-5)


def test_what_is_done_is_skipped_until_slide_settings_or_file_change(tmp_path, slides, monkeypatch):
    preprocess_slides(CONFIG, slides, tmp_path)
    monkeypatch.setattr(module, "build_encoder", lambda _: pytest.fail("nothing is left to do"))
    assert preprocess_slides(CONFIG, slides, tmp_path).skipped == ("s0", "s1", "s2")
    monkeypatch.undo()
    (tmp_path / "s0.h5").unlink()
    assert preprocess_slides(CONFIG, slides, tmp_path).done == ("s0",)
    (tmp_path / "s1.h5").write_bytes(b"")
    assert preprocess_slides(CONFIG, slides, tmp_path).done == ("s1",)
    given = {**slides, "s2": SlideInput(slides["s2"].path, mpp=0.45)}
    assert preprocess_slides(CONFIG, given, tmp_path).done == ("s2",)
    assert preprocess_slides(CONFIG, slides, tmp_path, force=True).done == ("s0", "s1", "s2")
    finer = PreprocessConfig(ENCODER, tiles=TileConfig(size_px=64, mpp=0.6))
    assert preprocess_slides(finer, slides, tmp_path).done == ("s0", "s1", "s2")
    assert store_folder(tmp_path, finer) != store_folder(tmp_path, CONFIG)


def test_a_resolution_for_all_touches_only_the_slides_that_do_not_tell_theirs(tmp_path):
    slides = {
        "told": SlideInput(make_slide(tmp_path / "told.tiff")),
        "mute": SlideInput(make_slide(tmp_path / "mute.tiff", mpp=None)),
    }
    report = preprocess_slides(CONFIG, slides, tmp_path / "out")
    assert (report.done, list(report.failed)) == (("told",), ["mute"])
    for mpp in (0.5, 0.45):
        given = replace(CONFIG, mpp=mpp)
        report = preprocess_slides(given, slides, tmp_path / "out")
        assert (report.done, report.skipped, report.failed) == (("mute",), ("told",), {})
        assert read_bag(tmp_path / "out" / "mute.h5").facts["mpp_level0"] == mpp
    assert preprocess_slides(given, slides, tmp_path / "out").skipped == ("told", "mute")


def test_a_slide_with_new_content_is_done_again(tmp_path):
    slide = {"a": SlideInput(make_slide(tmp_path / "a.tiff", 0))}
    preprocess_slides(CONFIG, slide, tmp_path / "out")
    make_slide(tmp_path / "a.tiff", 5)
    assert preprocess_slides(CONFIG, slide, tmp_path / "out").done == ("a",)


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path, slides, monkeypatch):
    class Killed(BaseException):
        pass

    true_write = module.write_record

    def killed_before_the_second_record(folder, name, *rest):
        if name == "s1":
            raise Killed
        true_write(folder, name, *rest)

    monkeypatch.setattr(module, "write_record", killed_before_the_second_record)
    with pytest.raises(Killed):
        preprocess_slides(CONFIG, slides, tmp_path)
    monkeypatch.undo()
    (tmp_path / f"{TEMPORARY_MARK}01234567-s1.h5").write_bytes(b"half")
    report = preprocess_slides(CONFIG, slides, tmp_path)
    assert (report.skipped, report.done) == (("s0",), ("s1", "s2"))
    assert not list(tmp_path.glob(f"{TEMPORARY_MARK}*"))


def test_tiles_that_cannot_be_decoded_are_counted_and_never_encoded(tmp_path):
    whole = make_slide(tmp_path / "whole.tiff", 0)
    bad = make_damaged(tmp_path / "bad.tiff", whole, tile=1)
    config = PreprocessConfig(ENCODER, tiles=CONFIG.tiles, worst_failed_share=0.9)
    slides = {"bad": SlideInput(bad), "whole": SlideInput(whole)}
    report = preprocess_slides(config, slides, tmp_path / "out")
    found, good = (read_bag(tmp_path / "out" / f"{name}.h5") for name in ("bad", "whole"))
    failed = found.facts["n_failed_tiles"]
    assert report.failed_tiles == failed > 0
    x, y = found.coords.T
    assert not ((x + 64 > 256) & (x < 512) & (y < 256)).any()
    assert len(found) + failed == found.facts["tissue_tiles"]
    kept = (good.coords[:, None] == found.coords[None]).all(-1).any(1)
    assert kept.sum() > 0
    at = {tuple(xy): row for xy, row in zip(good.coords.tolist(), good.features, strict=True)}
    for xy, row in zip(found.coords.tolist(), found.features, strict=True):
        if tuple(xy) in at:
            assert np.allclose(row, at[tuple(xy)], atol=1e-5)
    strict = preprocess_slides(CONFIG, slides, tmp_path / "out")
    assert list(strict.failed) == ["bad"]
    assert "tiles on tissue cannot be decoded" in strict.failed["bad"]
    assert not (tmp_path / "out" / "bad.h5").exists()


def test_a_blank_slide_is_a_status_with_a_file_of_no_rows(tmp_path, slides):
    given = {"blank": SlideInput(make_blank(tmp_path / "b.tiff")), "s0": slides["s0"]}
    report = preprocess_slides(CONFIG, given, tmp_path / "out")
    assert report.exit_code == 0
    assert list(report.no_tissue) == ["blank"]
    bag = read_bag(tmp_path / "out" / "blank.h5", width=512)
    assert bag.features.shape == (0, 512)
    again = preprocess_slides(CONFIG, given, tmp_path / "out")
    assert again.skipped == ("blank", "s0")
    assert list(again.no_tissue) == ["blank"]
    assert any("without tissue: blank" in line for line in again.lines())


def test_a_configuration_survives_json(slides):
    from dataclasses import asdict

    plain = json.loads(json.dumps(asdict(CONFIG)))
    assert make(PreprocessConfig, plain, "preprocess") == CONFIG
