"""A trained model as a folder: which folds are there, and the networks they hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, sha256
from medssm.core.inert import file_ending
from medssm.fields.segmentation.plan_file import Plan, read_plan
from medssm.inference.ensemble import Ensemble
from medssm.inference.windows import Sums
from medssm.networks import NETWORKS

Checkpoint = Literal["final", "best"]
_WEIGHTS = {"final": "weights.safetensors", "best": "weights_best.safetensors"}


@dataclass(frozen=True)
class TrainedModel:
    """What a model folder says.

    Args:
        folder: The model folder.
        content: Its model.json.
        dataset: Its dataset.json.
        plan: Its plan for the configuration it was trained in.
        weights: Weights file of every fold.
    """

    folder: Path
    content: Mapping[str, Any]
    dataset: Mapping[str, Any]
    plan: Plan
    weights: Mapping[str, Path]

    @property
    def file_ending(self) -> str:
        """Ending of images and label maps."""
        return file_ending(self.dataset.get("file_ending"), self.folder / "dataset.json")

    @property
    def mirror_axes(self) -> tuple[int, ...]:
        """Axes that training mirrored, hence prediction may."""
        return tuple(self.content.get("mirror_axes") or ())

    @property
    def sums(self) -> Sums:
        """How overlapping windows are added up."""
        return "float16" if self.content.get("sums") == "float16" else "float32"

    @property
    def channels(self) -> int:
        """How many image files a case has."""
        return len(self.dataset["channel_names"])

    def digest(self, folds: Sequence[str]) -> str:
        """Hash of everything that decides what the model answers."""
        parts = {fold: sha256(self.weights[fold]) for fold in folds}
        return digest([parts, dict(self.content["network"]), self.plan.plans])

    def network(self, folds: Sequence[str]) -> nn.Module:
        """Build the network of some folds; several answer by the mean of their logits.

        Raises:
            BadDataError: A weights file is damaged or belongs to another network.
        """
        networks = [self._load(self.weights[fold]) for fold in folds]
        return (networks[0] if len(networks) == 1 else Ensemble(networks)).eval()

    def _load(self, file: Path) -> nn.Module:
        network: nn.Module = NETWORKS.build(**self.content["network"])
        try:
            network.load_state_dict(load_file(file))
        except (SafetensorError, OSError) as error:
            raise BadDataError(
                f"{file}: the weights cannot be read ({error}). Restore the file, or leave this "
                "fold out with folds=[...]."
            ) from error
        except RuntimeError as error:
            raise BadDataError(
                f"{file}: the weights do not fit the network that model.json names "
                f"({str(error).splitlines()[0]}). Weights and model.json must be of one training."
            ) from error
        return network


def open_model(
    folder: Path, folds: Sequence[int | str] | None = None, checkpoint: Checkpoint = "final"
) -> TrainedModel:
    """Read a model folder.

    Args:
        folder: The folder that `medssm train` names at its end.
        folds: Folds to use; None takes all that have weights.
        checkpoint: The weights of the end of training, or those that validated best.

    Raises:
        BadDataError: It is no model folder, or no fold has weights.
        UsageError: A fold that was asked for has none.
    """
    if not (folder / "model.json").is_file():
        raise BadDataError(
            f"{folder}: no model.json in it, so it is no model folder. Give the folder that "
            "`medssm train` names in its last line (it holds model.json and fold_0)."
        )
    content = read_json(folder / "model.json")
    name = _WEIGHTS[checkpoint]
    found = {
        path.name.removeprefix("fold_"): path / name
        for path in sorted(folder.glob("fold_*"))
        if (path / name).is_file()
    }
    wanted = list(found) if folds is None else [str(fold) for fold in folds]
    if folds is None and len(found) > 1:
        # a network that saw every case adds nothing to those of a cross-validation
        wanted = [fold for fold in wanted if fold != "all"]
    missing = [fold for fold in wanted if fold not in found]
    if missing:
        raise UsageError(
            f"{folder}: fold {', '.join(missing)} has no {name}; "
            f"folds with one: {', '.join(found) or 'none'}."
        )
    if not wanted:
        raise BadDataError(
            f"{folder}: no fold has a {name}; train one, or take another checkpoint."
        )
    return TrainedModel(
        folder=folder,
        content=content,
        dataset=read_json(folder / "dataset.json"),
        plan=read_plan(folder / "plans.json", content["configuration"]),
        weights={fold: found[fold] for fold in wanted},
    )
