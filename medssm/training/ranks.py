"""Several processes of one training: what they agree on, and what is cleared behind them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from medssm.core.errors import MachineError

# what a launcher leaves in the environment; found there, it takes itself for launched
_LAUNCH_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# gloo's and NCCL's words for a process that is gone
_GONE = ("closed by peer", "reset by peer", "remote process exited", "broken pipe")


@contextmanager
def several(trainer: Trainer) -> Iterator[None]:
    """Guard a fit of several processes, and let a later fit launch its own.

    Raises:
        MachineError: Another process of the training is gone.
    """
    before = {name: os.environ.get(name) for name in _LAUNCH_VARIABLES}
    try:
        yield
    except RuntimeError as error:
        if trainer.world_size > 1 and any(word in str(error).lower() for word in _GONE):
            raise MachineError(
                f"process {trainer.global_rank} of {trainer.world_size}: another process of this "
                "training is gone (killed, or out of memory). Run the same command again; it "
                "goes on from the last checkpoint."
            ) from error
        raise
    else:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def mean_over_ranks(trainer: Trainer, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each number over all processes; all of them must ask."""
    if trainer.world_size == 1 or not values:
        return dict(values)
    stacked = torch.stack([value.float() for value in values.values()])
    mean = trainer.strategy.reduce(stacked, reduce_op="mean")
    return dict(zip(values, mean.unbind(), strict=True))


def highest_of_ranks(trainer: Trainer, value: int) -> int:
    """The highest of all processes' numbers; all of them must ask."""
    if trainer.world_size == 1:
        return value
    device = trainer.strategy.root_device
    highest = trainer.strategy.reduce(torch.tensor(value, device=device), reduce_op="max")
    return int(highest)
