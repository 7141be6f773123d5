"""Distances between surfaces: by hand, and against figures of the surface-distance package."""

import numpy as np
import pytest

from medssm.metrics.masks import MaskPair
from medssm.metrics.surface import hausdorff_95, surface_dice

# (shape, spacing, HD95, NSD at 1 mm) as surface-distance 0.1 gives them under NumPy 1.26
PUBLISHED = [
    ((16, 18, 17), (1.0, 1.0, 1.0), 3.741657387, 0.794629131),
    ((12, 22, 20), (3.0, 0.8, 0.8), 6.0, 0.642618757),
    ((14, 13, 15), (0.7, 1.9, 2.3), 4.6, 0.712084163),
    ((23, 25), (1.0, 1.0), 3.605551275, 0.670478887),
    ((27, 18), (0.6, 2.5), 3.6, 0.560690536),
]


def _rough_ellipsoids(shape, seed):
    random = np.random.RandomState(seed)
    grid = np.indices(shape)
    reference = (
        sum(((x - (n - 1) / 2) / (n * 0.32)) ** 2 for x, n in zip(grid, shape, strict=True)) < 1
    )
    reference &= random.rand(*shape) > 0.05
    return reference, np.roll(reference, 2, 0) ^ (random.rand(*shape) < 0.01)


@pytest.mark.parametrize("place", range(len(PUBLISHED)))
def test_distances_equal_those_of_surface_distance(place):
    shape, spacing, hd95, nsd = PUBLISHED[place]
    pair = MaskPair(*_rough_ellipsoids(shape, place), spacing, 1.0)
    assert (hausdorff_95(pair), surface_dice(pair)) == pytest.approx((hd95, nsd), abs=1e-8)


def test_surface_dice_equals_monai_with_subvoxels():
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_surface_dice

    reference, prediction = _rough_ellipsoids((16, 18, 17), 7)
    spacing = (2.0, 1.0, 0.5)
    theirs = compute_surface_dice(
        torch.from_numpy(prediction)[None, None].float(),
        torch.from_numpy(reference)[None, None].float(),
        class_thresholds=[1.0],
        include_background=True,
        spacing=spacing,
        use_subvoxels=True,
    )
    assert surface_dice(MaskPair(reference, prediction, spacing)) == pytest.approx(
        float(theirs), abs=1e-6
    )


def _slab(first, last):
    mask = np.zeros((20, 12, 12), dtype=bool)
    mask[first:last, 2:10, 2:10] = True
    return mask


def test_a_slab_moved_by_two_voxels_is_off_by_two_spacings():
    pair = MaskPair(_slab(4, 10), _slab(6, 12), (3.0, 1.0, 1.0), tolerance_mm=5.9)
    assert hausdorff_95(pair) == 6.0
    assert surface_dice(pair) < 1.0


def test_a_tolerance_as_large_as_the_shift_forgives_it():
    assert surface_dice(MaskPair(_slab(4, 10), _slab(6, 12), (0.7, 1.0, 1.0), 1.4)) == 1.0


def test_equal_masks_are_at_no_distance():
    pair = MaskPair(_slab(4, 10), _slab(4, 10), (1.0, 1.0, 1.0), 0.0)
    assert (hausdorff_95(pair), surface_dice(pair)) == (0.0, 1.0)


def test_a_mask_that_fills_the_image_has_its_surface_at_the_border():
    full = np.ones((4, 4, 4), dtype=bool)
    inner = full.copy()
    inner[0] = False
    assert hausdorff_95(MaskPair(full, inner, (2.0, 1.0, 1.0))) == 2.0


def test_cropping_does_not_change_the_distances():
    wide = [np.pad(mask, 15) for mask in (_slab(4, 10), _slab(5, 12))]
    near = MaskPair(_slab(4, 10), _slab(5, 12), (1.0, 2.0, 1.0))
    far = MaskPair(wide[0], wide[1], (1.0, 2.0, 1.0))
    assert (hausdorff_95(near), surface_dice(near)) == (hausdorff_95(far), surface_dice(far))


def test_the_two_directions_give_the_same_numbers():
    reference, prediction = _rough_ellipsoids((16, 18, 17), 3)
    there = MaskPair(reference, prediction, (1.0, 2.0, 1.0))
    back = MaskPair(prediction, reference, (1.0, 2.0, 1.0))
    assert hausdorff_95(there) == hausdorff_95(back)
    assert surface_dice(there) == pytest.approx(surface_dice(back), abs=1e-12)
