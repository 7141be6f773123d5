"""A slide over any backend: white where nothing was scanned, opened again after an error."""

from pathlib import Path

import numpy as np
import pytest

from medssm.data.slides import Slide, UnreadableRegionError
from medssm.data.slides.slide import Scan


class Backend:
    """Grey pixels; the left half was not scanned; some reads fail."""

    opened = 0

    def __init__(self, path, broken=lambda opened, corner: False):
        type(self).opened += 1
        self.scan = Scan(((100, 80), (50, 40), (25, 20)), (0.5, 0.5), None)
        self._broken = broken
        self.closed = False

    def rgba(self, corner, level, size):
        assert not self.closed
        if self._broken(self.opened, corner):
            raise OSError("cannot decode")
        pixels = np.zeros((size[1], size[0], 4), np.uint8)
        columns = np.arange(size[0]) + corner[0] // 2**level
        pixels[:, columns >= 50 // 2**level] = (100, 110, 120, 255)
        pixels[:, columns == 0] = (100, 110, 120, 51)
        return pixels

    def close(self):
        self.closed = True


def _slide(broken=lambda opened, corner: False, **more):
    Backend.opened = 0
    return Slide(Path("x.svs"), "fake", lambda path: Backend(path, broken), **more)


def test_what_was_not_scanned_is_white_and_not_black():
    region = _slide().region((0, 0), 0, (100, 80))
    assert (region[:, 1:50] == 255).all()
    assert (region[:, 50:] == (100, 110, 120)).all()
    # a fifth of the colour over white
    assert (region[:, 0] == (224, 226, 228)).all()


def test_levels_are_chosen_by_downsample_and_rounding_is_forgiven():
    slide = _slide()
    assert [slide.best_level(down) for down in (0.5, 1, 1.9, 1.99, 2, 3.9, 4, 99)] == [
        0, 0, 0, 1, 1, 1, 2, 2,
    ]  # fmt: skip
    assert slide.downsamples == ((1.0, 1.0), (2.0, 2.0), (4.0, 4.0))


def test_a_read_that_fails_once_is_tried_on_a_file_opened_anew():
    slide = _slide(broken=lambda opened, _: opened == 1)
    assert (slide.region((60, 0), 0, (4, 4)) == (100, 110, 120)).all()
    assert Backend.opened == 2


def test_a_read_that_fails_twice_is_named_and_the_next_one_works():
    slide = _slide(broken=lambda _, corner: corner == (60, 0))
    with pytest.raises(UnreadableRegionError, match=r"x.svs: the region at .60, 0. of 4 x 4.*fake"):
        slide.region((60, 0), 0, (4, 4))
    assert (slide.region((64, 0), 0, (4, 4)) == (100, 110, 120)).all()
    assert Backend.opened == 3


def test_only_the_base_of_a_damaged_pyramid_is_used():
    slide = _slide(degraded="cut off")
    assert slide.scan.level_sizes == ((100, 80),)
    assert slide.another().scan.level_sizes == ((100, 80),)
