"""Measures of a segmentation: each row carries its definition and its empty-mask rule."""

from medssm.core.registry import Table

METRICS = Table(
    "metric",
    {
        "dice": "medssm.metrics.overlap:DICE",
        "iou": "medssm.metrics.overlap:IOU",
        "hd95": "medssm.metrics.surface:HD95",
        "nsd": "medssm.metrics.surface:NSD",
        "volume_reference": "medssm.metrics.volume:VOLUME_REFERENCE",
        "volume_prediction": "medssm.metrics.volume:VOLUME_PREDICTION",
        "volume_difference": "medssm.metrics.volume:VOLUME_DIFFERENCE",
        "area_reference": "medssm.metrics.volume:AREA_REFERENCE",
        "area_prediction": "medssm.metrics.volume:AREA_PREDICTION",
        "area_difference": "medssm.metrics.volume:AREA_DIFFERENCE",
        "transunet_dice": "medssm.metrics.transunet:TRANSUNET_DICE",
        "transunet_hd95": "medssm.metrics.transunet:TRANSUNET_HD95",
    },
    "medssm.metrics",
)
