"""A gate a channel, from the mean over the map: squeeze and excitation."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

FEWEST = 4
"""Hidden units at least; with one or two of them a ReLU is easily dead for every sample."""


class ChannelGate(nn.Module):
    """g = sigmoid(W_2 act(W_1 mean(x))), one number a sample and channel.

    Args:
        channels: Width of the map.
        reduction: `channels` over the hidden width.
        bias: Whether both layers have biases.
        activation: Between them.

    Shape:
        x: (B, *S, C), result (B, 1, ..., 1, C), to be multiplied with a map.

    Source:
        Hu et al., "Squeeze-and-excitation networks", 2018.
    """

    def __init__(
        self,
        channels: int,
        reduction: int,
        *,
        bias: bool = True,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ) -> None:
        super().__init__()
        hidden = max(FEWEST, channels // reduction)
        self.fc1 = nn.Linear(channels, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, channels, bias=bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """The gate of a map."""
        mean = x.mean(dim=tuple(range(1, x.ndim - 1)), keepdim=True)
        return self.fc2(self.activation(self.fc1(mean))).sigmoid()
