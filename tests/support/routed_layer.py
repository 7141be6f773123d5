"""A small layer of everything that the operators take: routes, gate, low-rank steps, bias."""

import torch
from torch import Tensor, nn

from medssm.ops.conv import causal_conv1d
from medssm.ops.routes import there_and_back
from medssm.ops.scan import selective_scan


class RoutedLayer(nn.Module):
    """Convolve and scan both ways.

    Shape:
        x: (b, L, channels), result the same.
    """

    def __init__(self, channels: int = 4, states: int = 3, rank: int = 2, window: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.states, self.rank, self.window = states, rank, window
        self.taps = nn.Parameter(torch.randn(2, channels, 4))
        self.project = nn.Linear(channels, 2 * (rank + 2 * states))
        self.step = nn.Parameter(torch.randn(2, channels, rank))
        self.bias = nn.Parameter(torch.randn(2, channels))
        self.decay = nn.Parameter(torch.rand(2, channels, states))
        self.skip = nn.Parameter(torch.randn(2, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens."""
        routes = there_and_back(x.shape[1])
        u = causal_conv1d(x, self.taps, self.bias, routes=routes)
        delta, B, C = (
            self.project(x)
            .unflatten(-1, (2, -1))
            .transpose(1, 2)
            .split((self.rank, self.states, self.states), -1)
        )
        return selective_scan(
            u,
            delta,
            -self.decay,
            B,
            C,
            self.skip,
            delta_weight=self.step,
            delta_bias=self.bias,
            routes=routes,
            z=x,
            local_window=self.window,
        )
