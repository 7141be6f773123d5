"""The table of losses: logits and a label map to a number."""

from medssm.core.registry import Table

LOSSES = Table(
    "loss",
    {
        "dice_ce": "medssm.losses.segmentation:DiceCE",
        "dice_bce": "medssm.losses.segmentation:DiceBCE",
    },
    "medssm.losses",
)
