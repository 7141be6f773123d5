"""A plan: nnU-Net's plans JSON, ours or stock, read as typed facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import read_json
from medssm.data.labels import Labels, read_labels
from medssm.fields.segmentation.plan_vetting import check_plans

DEFAULT_PLANS = "medssmPlans"
# the key under which our facts travel in nnU-Net's JSON; stock nnU-Net passes over it
OURS = "medssm"
_ORDER = ("3d_fullres", "2d", "3d_lowres")


@dataclass(frozen=True)
class Plan:
    """How a data set is preprocessed and cut, for one configuration.

    Args:
        plans: The whole plans JSON.
        configuration: "2d", "3d_fullres" or "3d_lowres".
        dataset: The data set's dataset.json.
        labels: What label values mean.
    """

    plans: Mapping[str, Any]
    configuration: str
    dataset: Mapping[str, Any]
    labels: Labels

    @property
    def settings(self) -> Mapping[str, Any]:
        """The configuration's own part, inherited values filled in."""
        return _settings(self.plans, self.configuration)

    @property
    def plans_name(self) -> str:
        """Name of the plans file without its ending."""
        return str(self.plans["plans_name"])

    @property
    def patch_size(self) -> tuple[int, ...]:
        """Voxels of a training patch and of a window."""
        return tuple(int(size) for size in self.settings["patch_size"])

    @property
    def batch_size(self) -> int:
        """Patches of one step."""
        return int(self.settings["batch_size"])

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Spacing that images are resampled to, in array order after the transposition."""
        return tuple(float(each) for each in self.settings["spacing"])

    @property
    def data_identifier(self) -> str:
        """Folder of the preprocessed cases."""
        return str(self.settings["data_identifier"])

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.patch_size)

    @property
    def num_channels(self) -> int:
        """Channels of an image."""
        return len(self.dataset.get("channel_names", self.dataset.get("modality", {})))

    @property
    def batch_dice(self) -> bool:
        """Whether Dice is summed over the batch before it is divided."""
        return bool(self.settings.get("batch_dice", False))

    def facts(self) -> dict[str, Any]:
        """What configuration files may refer to as ``${plan.…}``."""
        return {
            "spatial_dims": self.spatial_dims,
            "num_channels": self.num_channels,
            "num_outputs": self.labels.num_outputs,
            "patch_size": list(self.patch_size),
            "batch_size": self.batch_size,
            "spacing_mm": list(self.spacing_mm),
            "configuration": self.configuration,
            "plans_name": self.plans_name,
        }


def read_plan(file: Path, configuration: str | None = None) -> Plan:
    """Read a plans JSON and the dataset.json beside it.

    Args:
        file: Ours or stock nnU-Net's.
        configuration: Which of its configurations; None takes 3d_fullres, or 2d without one.

    Raises:
        BadDataError: A file is missing, cut off or no plan.
        UsageError: No such configuration; the message lists those there are.
    """
    file = Path(file)
    plans = read_json(file)
    if not isinstance(plans, Mapping) or not isinstance(plans.get("configurations"), Mapping):
        raise BadDataError(f"{file}: no nnU-Net plan (configurations are missing); plan again.")
    check_plans(plans, file)
    known = [name for name in plans["configurations"] if "cascade" not in name]
    chosen = configuration or next((name for name in _ORDER if name in known), None)
    if chosen is None or chosen not in known:
        raise UsageError(f"{file}: no configuration {chosen!r}; {nearest(str(chosen), known)}")
    dataset_file = file.parent / "dataset.json"
    dataset = read_json(dataset_file)
    settings = _settings(plans, chosen)
    missing = [key for key in ("patch_size", "spacing", "data_identifier") if key not in settings]
    if missing:
        raise BadDataError(f"{file}: {chosen} lacks {', '.join(missing)}; plan again.")
    return Plan(plans, chosen, dataset, read_labels(dataset, str(dataset_file)))


def _settings(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    own = dict(plans["configurations"][configuration])
    parent = own.get("inherits_from")
    return {**_settings(plans, parent), **own} if parent else own
