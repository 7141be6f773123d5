"""Frames: a value stays where it is in the patient, whatever is done to the grid."""

import numpy as np
import pytest

from medssm.fields.pretraining.canonical import (
    Frame,
    body_box,
    body_mask,
    crop,
    resample,
    to_canonical,
)
from medssm.fields.pretraining.fingerprints import (
    hu_thumbnail,
    near_pairs,
    pack_thumbnail,
    pixel_hash,
    unpack_thumbnail,
)
from medssm.fields.pretraining.quality import assess, looks_like_hu, looks_like_labels
from tests.support.ct_archive import phantom


def _world(frame):
    places = np.moveaxis(np.indices(frame.voxels.shape), 0, -1)
    return places @ frame.affine[:3, :3].T + frame.affine[:3, 3]


def _ramp(affine, shape):
    """A volume whose value is a plane over millimetres."""
    frame = Frame(np.zeros(shape), affine)
    return Frame(_world(frame) @ [3.0, -2.0, 1.0] + 7, affine)


def _is_ramp(frame, inner=0):
    inside = tuple(slice(inner, size - inner) for size in frame.voxels.shape)
    expected = (_world(frame) @ [3.0, -2.0, 1.0] + 7)[inside]
    np.testing.assert_allclose(frame.voxels[inside], expected, atol=1e-2)


@pytest.mark.parametrize("seed", range(6))
def test_canonical_axes_keep_every_value_at_its_place(seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) + rng.normal(0, 0.1, (3, 3)))[:, rng.permutation(3)]
    affine[:3, :3] *= rng.choice([-1, 1], 3) * [1.0, 2.0, 3.0]
    affine[:3, 3] = rng.normal(0, 50, 3)
    found = to_canonical(_ramp(affine, (5, 6, 7)))
    _is_ramp(found)
    assert (np.diag(found.affine)[:3] > 0).all()


@pytest.mark.parametrize("target", [0.8, 1.5, 4.0])
def test_resampling_keeps_a_ramp_where_it_was(target):
    affine = np.diag([1.5, 2.2, 5.0, 1.0])
    affine[:3, 3] = 4, -5, 6
    found = resample(_ramp(affine, (40, 40, 40)), target)
    np.testing.assert_allclose(found.spacing_mm, target, rtol=0.05)
    # the low-pass before a coarser grid bends the ramp at its ends
    _is_ramp(found, inner=8)


def test_a_spacing_within_five_percent_is_left_alone():
    frame = Frame(np.ones((4, 4, 4), dtype=np.int16), np.diag([1.45, 1.5, 1.57, 1]))
    assert resample(frame, 1.5).voxels is frame.voxels


def test_a_coarser_grid_averages_what_it_cannot_show():
    checks = np.indices((64, 64, 64)).sum(0) % 2 * 100.0
    found = resample(Frame(checks, np.eye(4)), 4.0)
    assert np.abs(found.voxels[2:-2, 2:-2, 2:-2] - 50).max() < 3


def test_the_body_is_kept_with_a_margin_and_the_table_is_not():
    hu = np.full((60, 60, 40), -1000, dtype=np.int16)
    hu[15:45, 20:42, :] = 40
    hu[22:30, 25:35, 5:35] = -800
    hu[5:55, 52:54, :] = 100
    frame = Frame(hu, np.diag([2.0, 2.0, 2.0, 1.0]))
    mask, stride = body_mask(frame)
    box = body_box(frame, mask, stride, 10.0)
    assert box[1][1] < 52
    for (first, last), (begin, end) in zip(box, ((15, 45), (20, 42), (0, 40)), strict=True):
        assert first <= begin <= first + 8
        assert last - 8 <= end <= last
    cut = crop(frame, box)
    np.testing.assert_allclose(cut.affine[:3, 3], [2 * first for first, _ in box])
    assert (cut.voxels > -500).sum() >= (hu[:, :50] > -500).sum()
    # the lung is inside of the body
    assert mask[tuple(np.array([26, 30, 20]) // stride)]


def test_air_alone_is_kept_whole():
    frame = Frame(np.full((9, 9, 9), -1000, dtype=np.int16), np.eye(4))
    mask, stride = body_mask(frame)
    assert body_box(frame, mask, stride, 10.0) == ((0, 9),) * 3


def test_hu_labels_and_other_images_are_told_apart():
    hu = phantom(0, (40, 40, 30))
    assert looks_like_hu(hu)
    # bodies cut out: all air is padding
    assert looks_like_hu(np.where(hu > -500, hu, -1024))
    for other in (np.abs(hu), hu + 1024, hu // 8, (hu > -500).astype(np.uint8)):
        assert not looks_like_hu(other)
    labels = np.digitize(hu, [-500, 0, 600])
    assert looks_like_labels(labels)
    assert looks_like_labels((hu > -500).astype(np.float32))
    assert not looks_like_labels(np.abs(hu))
    assert not looks_like_labels(hu)


def test_quality_measures_noise_and_names_what_is_poor():
    good = phantom(1, (60, 60, 50))
    body = np.ones((10, 10, 10), dtype=bool)
    fine = assess(good, np.array([2.0, 2.0, 2.0]), body, 50)
    assert fine.failed == ()
    assert abs(fine.figures["air_noise_hu"] - 8) < 2
    assert abs(sum(fine.histogram) - 1) < 0.01
    bad = good.copy()
    bad[:, :, 10:16] = -1000
    bad[20:30, 20:30, 20:30] = 3071
    poor = assess(bad, np.array([1.0, 1.0, 6.0]), body, 20)
    assert set(poor.failed) == {
        "constant-slices", "extent", "jumps", "saturation", "slices", "spacing",
    }  # fmt: skip
    assert poor.score == pytest.approx(3 / 9, abs=1e-3)


def test_thumbnails_find_the_same_scan_under_noise_and_nothing_else():
    scans = {f"{seed}": phantom(seed, (50, 48, 40)) for seed in range(6)}
    noise = np.random.default_rng(0).normal(0, 12, (50, 48, 40))
    scans["2 again"] = np.rint(np.maximum(scans["2"] + noise, -1024)).astype(np.int16)
    small = {name: hu_thumbnail(voxels) for name, voxels in scans.items()}
    assert near_pairs(small) == [("2", "2 again")]
    np.testing.assert_array_equal(unpack_thumbnail(pack_thumbnail(small["3"])), small["3"].ravel())
    assert len({pixel_hash(voxels) for voxels in scans.values()}) == len(scans)
    assert pixel_hash(scans["1"]) == pixel_hash(np.asfortranarray(scans["1"].astype(">i2")))
