"""Whole-slide images: one way to open them, whichever package reads the file."""

from medssm.data.slides.find import find_slides
from medssm.data.slides.open import READERS, open_slide
from medssm.data.slides.resolution import resolve_mpp
from medssm.data.slides.slide import Slide, UnreadableRegionError
from medssm.data.slides.thumbnail import Thumbnail, thumbnail
from medssm.data.slides.tile import read_tile

__all__ = [
    "READERS",
    "Slide",
    "Thumbnail",
    "UnreadableRegionError",
    "find_slides",
    "open_slide",
    "read_tile",
    "resolve_mpp",
    "thumbnail",
]
