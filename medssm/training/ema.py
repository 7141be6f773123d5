"""A slow average of the weights, which often validates better than the weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a network's state.

    Args:
        network: What is averaged.
        decay: Share of the old average a step; 0 turns the average off.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay, self.updates = network, decay, 0
        self.average: dict[str, Tensor] = {}

    @property
    def on(self) -> bool:
        """Whether an average is kept."""
        return self.decay > 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights, faster in the first steps."""
        if not self.on:
            return
        state = self.network.state_dict()
        if not self.average:
            self.average = {name: tensor.detach().clone() for name, tensor in state.items()}
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        floats = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in floats], [state[name] for name in floats], 1 - decay
        )
        for name in state.keys() - set(floats):
            self.average[name].copy_(state[name])

    def weights(self) -> Mapping[str, Tensor]:
        """The average, or the present weights while there is none."""
        return self.average if self.on and self.average else self.network.state_dict()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network carry the average inside a block."""
        if not self.on or not self.average:
            yield
            return
        kept = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        try:
            yield
        finally:
            self.network.load_state_dict(kept)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"updates": self.updates, "average": dict(self.average)}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take the average of a checkpoint over."""
        self.updates = state["updates"]
        self.average = {name: tensor.to(device) for name, tensor in state["average"].items()}
