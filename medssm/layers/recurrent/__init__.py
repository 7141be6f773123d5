"""Recurrent units over images: (image, state) to (image, state), one step a call."""

from medssm.core.registry import Table

UNITS = Table(
    "recurrent unit",
    {
        "convgru": "medssm.layers.conv_gru:ConvGRU",
        "vss": "medssm.layers.recurrent.scan_gru:ScanGRU",
        "step_scan": "medssm.layers.recurrent.step_scan:StepScan",
        "slice_scan": "medssm.layers.recurrent.slice_scan:SliceScan",
    },
    "medssm.recurrent_units",
)
