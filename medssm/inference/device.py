"""Which device computes: the best that is there, or the one that was asked for."""

import torch

from medssm.core.errors import MachineError, UsageError


def choose_device(name: str = "auto") -> torch.device:
    """Turn a wish into a device of this machine.

    Args:
        name: "auto", "cpu", "cuda", "cuda:1" or any other name that torch knows.

    Raises:
        UsageError: torch knows no such device.
        MachineError: This machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device={name!r} is no device; take auto, cpu or cuda.") from None
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MachineError(
            f"device={name!r} does not work here: {str(error).splitlines()[0]} Take device=auto."
        ) from error
    return device


def describe_device(device: torch.device) -> str:
    """A device in words, for the user."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return str(device)
