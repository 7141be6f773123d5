"""Tiny arguments of every network and mixer, so that walking a table costs seconds."""

from typing import Any

VM = {"name": "cross_scan", "state": 4}
MHS = {"name": "multi_head_scan", "state": 4, "heads": 3}
TINY_NETWORKS: dict[str, dict[str, Any]] = {
    "lightm_unet": {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
    "vm_unet": {"width": 16, "depths": [1, 1], "decoder_depths": [1, 1], "mixer": VM},
    "mhs_vm": {"width": 16, "depths": [1, 1], "decoder_depths": [1, 1], "mixer": MHS},
    "msvm_unet": {"width": 8, "depths": [1, 1], "decoder_depths": [1]},
    "hybrid_mamba": {
        "stem_width": 8,
        "widths": [8, 12],
        "depths": [1, 1],
        "expansions": [2, 2],
        "layers": 1,
    },
    "segmamba": {"widths": [4, 8], "depths": [1, 1], "bottleneck": 8},
    "unet": {"channels": [4, 8, 16], "strides": [2, 2], "residual_units": 1},
    "plain_conv_unet": {"features": [4, 8, 16]},
    "residual_encoder_unet": {"features": [4, 8, 16], "convolutions": [1, 1, 2]},
}

TINY_MIXERS: dict[str, dict[str, Any]] = {
    "mamba": {"state": 4},
    "bidirectional": {"state": 4},
    "cross_scan": {"state": 4},
    "vim": {"state": 4},
    "vim_v1": {"state": 4},
    "segmamba": {"state": 4},
    "srmamba": {"state": 4, "rate": 7},
    "lbmamba": {"state": 4, "window": 4},
    "multi_head_scan": {"state": 4, "heads": 3, "start": "open"},
    "multi_scale_scan": {"ratio": 2},
    "efficientvmamba": {"state": 4},
    "msvmamba": {},
    "groupmamba": {},
    "spatialmamba": {},
    "vssd": {"state": 8},
    "efficientvim": {"state": 9},
    "s4d": {"state": 8},
    "s4nd": {"state": 8},
    "convolution": {},
    "none": {},
}
