"""A stored case of one module: its official keys filled by name, its input and its output."""

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.goldens.golden_init import golden_input, golden_tensor
from tests.goldens.harness import pair_up
from tests.support.shared import shared_folder


def largest_difference(case: str, module: nn.Module) -> float:
    """Fill a module, whose keys must be the official ones, run it, and compare.

    Args:
        case: Folder and name below ``goldens``, e.g. "ecg/vim_mixer_v2_sum".
        module: Built like the official one.
    """
    file = shared_folder(f"goldens/{case}.json")
    stored = json.loads(file.read_text())
    weights = {key: golden_tensor(key, torch.empty(shape)) for key, shape in stored["state_dict"]}
    module.load_state_dict(weights)
    with torch.no_grad():
        output = module(_input(stored))
    ours, theirs = pair_up(output, np.load(file.with_suffix(".npz")))
    return float(np.abs(ours - theirs).max())


def _input(stored: dict[str, Any]) -> Tensor:
    if "input" in stored:
        return golden_input(*stored["input"])
    first = stored["inputs"][0]
    return golden_input(first["name"], first["shape"])
