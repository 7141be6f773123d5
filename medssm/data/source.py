"""What an importer found in a foreign folder, and the dataset.json that says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """A foreign data set.

    Args:
        channels: Channel index to name.
        labels: Label name to value.
        file_ending: Of the images.
        cases: Case name to image files and label file.
        extra: Further keys for dataset.json.
        notes: What a user should know of the folder.
    """

    channels: Mapping[str, str]
    labels: Mapping[str, Any]
    file_ending: str
    cases: Mapping[str, tuple[tuple[Path, ...], Path | None]]
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def dataset_json(self, patients: Mapping[str, str]) -> dict[str, Any]:
        """The content of dataset.json, readable by stock nnU-Net."""
        content: dict[str, Any] = {
            **self.extra,
            "channel_names": dict(self.channels),
            "labels": dict(self.labels),
            "numTraining": len(self.cases),
            "file_ending": self.file_ending,
            "field": "segmentation",
            "dataset": {
                name: {
                    "images": [str(image) for image in images],
                    "label": str(label) if label else None,
                }
                for name, (images, label) in sorted(self.cases.items())
            },
        }
        if patients:
            content["patients"] = dict(patients)
        return content
