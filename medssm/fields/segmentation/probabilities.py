"""Class probabilities on the input's grid, written a class at a time in nnU-Net's format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medssm.fields.segmentation.nnunet.restore import restore_class
from medssm.fields.segmentation.plan_file import Plan
from medssm.inference.streaming import Scratch, StreamedLogits


def write_probabilities(
    file: Path, logits: StreamedLogits, properties: Mapping[str, Any], plan: Plan, scratch: Scratch
) -> None:
    """Write {"probabilities": (K, *input)} as a compressed .npz.

    Softmax over classes, or a sigmoid for each region. Outside of the box that preprocessing
    cropped to, the background is certain.

    Args:
        file: The .npz to write.
        logits: Logits on the plan's grid.
        properties: What preprocessing noted of the case.
        plan: How images are preprocessed and labels restored.
        scratch: Where the probabilities are gathered.

    Source:
        nnU-Net v2, export of probabilities.
    """
    first, inside = restore_class(logits, 0, properties, plan)
    gathered = scratch.array((len(logits), *first.shape), "float32")
    try:
        values = gathered.values
        for index in range(len(logits)):
            scores = first if index == 0 else restore_class(logits, index, properties, plan)[0]
            values[index] = scores
            gathered.used(scores.size)
        regions = plan.labels.has_regions
        for plane in range(first.shape[0]):
            part = _sigmoid(values[:, plane]) if regions else _softmax(values[:, plane])
            outside = ~inside[plane]
            part[:, outside] = 0
            if not regions:
                part[0, outside] = 1
            values[:, plane] = part
            gathered.used(part.size)
        np.savez_compressed(file, probabilities=values)
        del values
    finally:
        gathered.close()


def _softmax(scores: Any) -> Any:
    powers = np.exp(scores - scores.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


def _sigmoid(scores: Any) -> Any:
    return 1 / (1 + np.exp(-scores.astype(np.float64)))
