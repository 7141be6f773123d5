"""Tiny arguments of every network and mixer, so that walking a table costs seconds."""

from typing import Any

TINY_NETWORKS: dict[str, dict[str, Any]] = {
    "lightm_unet": {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
    "unet": {"channels": [4, 8, 16], "strides": [2, 2], "residual_units": 1},
}

TINY_MIXERS: dict[str, dict[str, Any]] = {
    "mamba": {"state": 4},
    "bidirectional": {"state": 4},
    "convolution": {},
    "none": {},
}
