"""The device of this machine and the budget that fits it, chosen without being asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from medssm.runs.compose import chosen_file, group_override

# least GPU memory in GiB -> the budget; a card says a little less than its box
_GPU_BUDGETS = ((75, "gpu_80gb"), (22, "gpu_24gb"), (7, "gpu_8gb"))


@dataclass(frozen=True)
class Choice:
    """What will compute, which budget it gets, and why in words."""

    device: str
    budget: str
    threads: int
    reason: str


def choose_budget() -> Choice:
    """Look for a GPU and take the largest budget that fits it."""
    import torch

    threads = torch.get_num_threads()
    if not torch.cuda.is_available():
        return Choice("cpu", "cpu", threads, "no CUDA GPU is visible")
    memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    name = torch.cuda.get_device_name(0)
    for least, budget in _GPU_BUDGETS:
        if memory_gib >= least:
            return Choice("cuda", budget, threads, f"{name} with {memory_gib:.0f} GiB")
    return Choice("cpu", "cpu", threads, f"{name} has {memory_gib:.0f} GiB, too little to train")


def with_budget(overrides: Sequence[str]) -> tuple[list[str], Choice]:
    """Add the budget of this machine where the user chose none (or ``budget=auto``).

    An experiment without any budget, such as a published recipe, has a course of its own.
    """
    choice = choose_budget()
    words = [word for word in overrides if word != "budget=auto"]
    if any(group_override(word) == "budget" for word in words):
        return words, choice
    if "budget=auto" not in overrides and _has_own_course(words):
        return words, choice
    return [f"budget={choice.budget}", *words], choice


def _has_own_course(words: Sequence[str]) -> bool:
    recipe = any(group_override(word) == "experiment" for word in words)
    return recipe and chosen_file("segmentation", words, "budget") is None
