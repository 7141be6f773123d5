"""Bags of tile features and their tables, in the files of CLAM, TRIDENT and our own."""

from medssm.data.bags.bag import Bag, BagHeader, bag_header, read_bag
from medssm.data.bags.bag_table import read_bag_table
from medssm.data.bags.find import find_bags
from medssm.data.bags.order import ORDERS, order_of
from medssm.data.bags.slide_table import (
    SlideRow,
    read_slide_table,
    refuse_conflicting_labels,
    slide_id,
    write_slide_table,
)
from medssm.data.bags.splits import Split, read_splits, refuse_leaks, write_splits
from medssm.data.bags.tile_coords import TileCoords, read_tile_coords, write_tile_coords
from medssm.data.bags.write import LAYOUTS, write_bag

__all__ = [
    "LAYOUTS",
    "ORDERS",
    "Bag",
    "BagHeader",
    "SlideRow",
    "Split",
    "TileCoords",
    "bag_header",
    "find_bags",
    "order_of",
    "read_bag",
    "read_bag_table",
    "read_slide_table",
    "read_splits",
    "read_tile_coords",
    "refuse_conflicting_labels",
    "refuse_leaks",
    "slide_id",
    "write_bag",
    "write_slide_table",
    "write_splits",
    "write_tile_coords",
]
