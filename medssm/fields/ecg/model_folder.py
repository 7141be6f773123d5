"""A trained model as a folder: what describes it, and the networks of its folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

import medssm
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, sha256, write_json, write_text
from medssm.fields.ecg.calibration import Calibration, average, no_calibration, read_calibration
from medssm.fields.ecg.plan_file import EcgPlan, read_plan
from medssm.fields.ecg.windows import Reader
from medssm.networks import ECG_NETWORKS

Checkpoint = Literal["final", "best"]
CALIBRATION = "calibration.json"
VALIDATION = "validation.csv"
LEARNED = "learned_from.json"
_WEIGHTS = {"final": "weights.safetensors", "best": "weights_best.safetensors"}
# the folds of a model are averaged, so they must agree in these
_SHARED = ("network", "plan_hash")


def write_model_folder(
    folder: Path, fold: str, network: Mapping[str, Any], plan: EcgPlan, dataset: str
) -> None:
    """Write model.json and plan.json.

    Raises:
        UsageError: Another fold in the folder is of another network or plan.
    """
    # Lightning is slow to import, and a prediction needs none of it
    from medssm.training.checkpoints import CheckpointFiles

    content = {
        "format": 1,
        "field": "ecg",
        "dataset": dataset,
        "network": plain(network),
        "plan_hash": plan_hash(plan),
        "medssm_version": medssm.__version__,
    }
    file = folder / "model.json"
    if file.is_file():
        before = read_json(file)
        differs = [name for name in _SHARED if before.get(name) != content[name]]
        others = [
            path.name
            for path in sorted(folder.glob("fold_*"))
            if path.name != fold and CheckpointFiles(path).last() is not None
        ]
        if differs and others:
            raise UsageError(
                f"{folder}: {', '.join(others)} was trained with another {' and '.join(differs)}; "
                "the folds of a model folder must agree. Give this run its own name with run=NAME."
            )
    write_json(folder / "plan.json", plan.plain())
    write_json(file, content)


def plan_hash(plan: EcgPlan) -> str:
    """Hash of what decides how a signal reaches the network and what its logits mean."""
    content = plan.plain()
    return digest({name: content.get(name) for name in _DECIDES})


_DECIDES = ("classes", "rate_hz", "leads", "length", "scale", "clip_mv", "bandpass_hz", "notch_hz")


def write_config(folder: Path, config: Any) -> None:
    """Write config.yaml: every value of a typed configuration, defaults included."""
    text = yaml.safe_dump(plain(vars(config)), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", text)


def plain(value: Any) -> Any:
    """Data classes, mappings and sequences as dicts and lists."""
    if hasattr(value, "__dataclass_fields__"):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class TrainedModel:
    """What a model folder says.

    Args:
        folder: The model folder.
        content: Its model.json.
        plan: How signals are prepared and what the logits mean.
        weights: Weights file of every fold used.
    """

    folder: Path
    content: Mapping[str, Any]
    plan: EcgPlan
    weights: Mapping[str, Path]

    def digest(self) -> str:
        """Hash of everything that decides what the model answers."""
        parts = [sha256(file) for file in self.weights.values()]
        calibrations = [each.plain() for each in self.calibrations()]
        return digest([parts, calibrations, dict(self.content["network"]), plan_hash(self.plan)])

    def calibrations(self) -> list[Calibration]:
        """Those of the folds; one half and nothing changed where a fold was not validated."""
        files = [file.parent / CALIBRATION for file in self.weights.values()]
        count = len(self.plan.classes)
        return [
            read_calibration(read_json(file)) if file.is_file() else no_calibration(count)
            for file in files
        ]

    @property
    def decision(self) -> Calibration:
        """The thresholds for the mean of the folds."""
        return average(self.calibrations())

    def learned_from(self) -> frozenset[str]:
        """Hashes of the recordings that the folds learned from or were calibrated on."""
        files = [file.parent / LEARNED for file in self.weights.values()]
        lists = [read_json(file)["sha256_of_samples"] for file in files if file.is_file()]
        return frozenset(each for hashes in lists for each in hashes)

    def held_back(self, part: str) -> list[Path]:
        """The files of the "validation" or "test" part of the one fold that is used.

        Raises:
            UsageError: Several folds are used, or the fold has no such part.
        """
        if len(self.weights) != 1:
            raise UsageError(
                f"part={part}: {self.folder} has folds {', '.join(self.weights)}, and what one "
                "holds back another learns from. Take one, e.g. folds=[0]."
            )
        (weights,) = self.weights.values()
        files = read_json(weights.parent / LEARNED)["files"][part]
        if not files:
            raise UsageError(
                f"part={part}: the fold has none. planner.splits=leave_one_source_out and "
                "PTB-XL's own folds keep a test part."
            )
        return [Path(each) for each in files]

    def reader(self, device: torch.device, batch: int = 64) -> Reader:
        """The networks, ready.

        Raises:
            BadDataError: A weights file is damaged or belongs to another network.
        """
        networks = [self.load(file).to(device) for file in self.weights.values()]
        return Reader(networks, self.calibrations(), device, batch)

    def load(self, file: Path) -> nn.Module:
        """One fold's network in evaluation mode.

        Raises:
            BadDataError: The weights file is damaged or belongs to another network.
        """
        network: nn.Module = ECG_NETWORKS.build(**self.content["network"])
        try:
            network.load_state_dict(load_file(file))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise BadDataError(
                f"{file}: the weights cannot be read, or are not of the network that model.json "
                f"names ({str(error).splitlines()[0]}). Restore the file, or leave this fold out "
                "with folds=[...]."
            ) from error
        return network.eval()


def open_model(
    folder: Path, folds: Sequence[int] | None = None, checkpoint: Checkpoint = "final"
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
    name = _WEIGHTS[checkpoint]
    found = {
        path.name.removeprefix("fold_"): path / name
        for path in sorted(folder.glob("fold_*"))
        if (path / name).is_file()
    }
    wanted = list(found) if folds is None else [str(fold) for fold in folds]
    missing = [fold for fold in wanted if fold not in found]
    if missing:
        raise UsageError(
            f"{folder}: fold {', '.join(missing)} has no {name}; "
            f"folds with one: {', '.join(found) or 'none'}."
        )
    if not wanted:
        raise BadDataError(f"{folder}: no fold has a {name}; train one, or take another checkpoint")
    plan = read_plan(folder)
    weights = {fold: found[fold] for fold in wanted}
    return TrainedModel(folder, read_json(folder / "model.json"), plan, weights)
