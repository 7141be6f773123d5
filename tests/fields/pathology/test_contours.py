"""Contours without tracing: areas, boxes and insides as OpenCV 5.0 gives them for the same mask."""

import numpy as np

from medssm.fields.pathology.contours import (
    ContourFilter,
    hole_area,
    outline_area,
    regions,
)

PICTURE = [
    "..........................",
    ".#######..........##......",
    ".#.....#.........##.......",
    ".#.###.#........##........",
    ".#.#.#.#..................",
    ".#.###.#....#######.......",
    ".#.....#....#..#..#.......",
    ".#######....#######.......",
    "........#...#.....#...#...",
    ".........#..#.#...#.......",
    "..........#.#######.......",
    ".....####.................",
    ".....####......##########.",
    ".....####......#.......##.",
]
MASK = np.array([[cell == "#" for cell in row] for row in PICTURE])
ALL = ContourFilter(least_tissue=0, least_hole=0, most_holes=99)
# findContours with RETR_CCOMP and CHAIN_APPROX_NONE in its own order, boundingRect, contourArea,
# and how many points of a grid of half pixels pointPolygonTest finds inside; areas of 0 left out
OPENCV = [
    ((15, 12, 10, 2), 2.0, [], 29, 0),
    ((5, 11, 4, 3), 6.0, [], 35, 0),
    ((12, 5, 7, 6), 30.0, [15.0, 4.0, 4.0], 143, 69),
    ((3, 3, 3, 3), 4.0, [2.0], 25, 5),
    ((16, 1, 4, 3), 2.0, [], 15, 0),
    ((1, 1, 10, 10), 36.0, [34.0], 175, 117),
]
HALVES = np.array([(x / 2, y / 2) for y in range(28) for x in range(52)])


def test_pieces_come_in_opencvs_order_with_its_boxes_and_areas():
    found = regions(MASK, (1.0, 1.0), ALL)
    assert [region.box_level0((1.0, 1.0)) for region in found] == [each[0] for each in OPENCV]
    for region, (_, area, holes, _, _) in zip(found, OPENCV, strict=True):
        assert outline_area(region.filled) == area
        assert [hole_area(hole) for hole in region.holes] == holes


def test_points_are_inside_where_opencv_says_so():
    for region, (_, _, _, inside, in_hole) in zip(
        regions(MASK, (1.0, 1.0), ALL), OPENCV, strict=True
    ):
        assert region.contains(HALVES).sum() == inside
        assert region.in_hole(HALVES).sum() == in_hole


def test_the_filter_counts_in_squares_of_512_pixels_of_level_0():
    scale = (512.0, 512.0)
    # areas less their holes: 2, 6, 7, 2, 2, 2 squares
    assert len(regions(MASK, scale, ContourFilter(2, 0, 8))) == 2
    assert len(regions(MASK, scale, ContourFilter(1, 0, 8))) == 6
    kept = regions(MASK, scale, ContourFilter(6, 4, 8))[0]
    assert [hole_area(hole) for hole in kept.holes] == [15.0]
    assert len(regions(MASK, scale, ContourFilter(6, 0, 2))[0].holes) == 2
    assert regions(MASK, scale, ContourFilter()) == []


def test_boxes_are_rounded_down_in_level_0():
    box = regions(MASK, (2.5, 4.0), ContourFilter(0, 0, 8))[1].box_level0((2.5, 4.0))
    assert box == (12, 44, 20 - 12 + 1, 52 - 44 + 1)
