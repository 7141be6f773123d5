"""Stock nnU-Net as a process of its own, and its labels held against ours."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

import medssm
from medssm.core.errors import MachineError, MedssmError
from medssm.fields.segmentation.inputs import InputCase
from medssm.fields.segmentation.plan_file import Plan

_PREDICT = (
    "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as run; "
    "run()"
)
# where nnU-Net would look for trainers of somebody else: the proof must do without
_UNSET = "nnUNet_extTrainer"


def link_inputs(cases: Sequence[InputCase], folder: Path, ending: str) -> list[str]:
    """Link images under nnU-Net's names, a number a file.

    Returns:
        The cases' names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        for channel, file in enumerate(case.files):
            (folder / f"{case.name}_{channel:04d}{ending}").symlink_to(Path(file).absolute())
    return [case.name for case in cases]


def stock_prediction(model: Path, fold: str, images: Path, output: Path) -> None:
    """Predict a folder with ``nnUNetv2_predict_from_modelfolder``.

    Args:
        model: A folder of nnU-Net's results.
        fold: Which fold.
        images: Files in nnU-Net's names.
        output: Where the labels go.

    Raises:
        MachineError: The process was killed.
        MedssmError: It ended with an error; the message holds its last lines.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    words = ["-i", str(images), "-o", str(output), "-m", str(model), "-f", fold,
             "-device", device, "-npp", "1", "-nps", "1", "--disable_progress_bar"]  # fmt: skip
    # the network's class is found however this process found it
    path = [str(Path(medssm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {name: value for name, value in os.environ.items() if name != _UNSET}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PREDICT, *words],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode < 0:
        raise MachineError(
            f"nnUNetv2_predict_from_modelfolder: ended by signal {-done.returncode}."
        )
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise MedssmError(f"{model}: nnUNetv2_predict_from_modelfolder refused it:\n{told}")


def equal_share(one: Path, two: Path, plan: Plan) -> float:
    """The share of voxels with the same label.

    Raises:
        MedssmError: The label maps have different sizes, or one is missing.
    """
    for file in (one, two):
        if not file.is_file():
            raise MedssmError(f"{file.name}: was not predicted by {file.parent.name}.")
    reader = PlansManager(dict(plan.plans)).image_reader_writer_class()
    first, second = (np.asarray(reader.read_seg(str(file))[0]) for file in (one, two))
    if first.shape != second.shape:
        raise MedssmError(
            f"{one.name}: nnU-Net's label has {first.shape} voxels, ours {second.shape}."
        )
    return float(np.mean(first == second))
