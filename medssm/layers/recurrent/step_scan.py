"""The unrolled steps as the axis of a selective scan: a state space in every pixel."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.conv_gru import border_conv
from medssm.layers.linear import TokenLinear
from medssm.layers.mixers.mamba import decay_parameter, step_projection, without_weight_decay
from medssm.ops.scan.step import selective_scan_step


class StepLayer(nn.Module):
    """One step of a selective state space in every pixel.

    Args:
        channels: Of the map.
        states: States a channel.

    Shape:
        c: (B, C, H, W), h: (B, C, H, W, N); results the same.
    """

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        self.states, self.rank = states, math.ceil(channels / 16)
        self.project = TokenLinear(channels, self.rank + 2 * states, bias=False)
        self.step = step_projection(self.rank, channels)
        self.A_log = without_weight_decay(nn.Parameter(decay_parameter(channels, states).detach()))
        self.D = without_weight_decay(nn.Parameter(torch.ones(channels)))

    def forward(self, c: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """H' = exp(-s A) h + s B c; y = C h' + D c; B, C and the step s come from c."""
        tokens = c.movedim(1, -1)
        grid = tokens.shape[:-1]
        flat = tokens.reshape(-1, tokens.shape[-1])
        steps, writes, reads = self.project(flat).split(
            (self.rank, self.states, self.states), dim=-1
        )
        y, new = selective_scan_step(
            h.movedim(1, -2).reshape(flat.shape[0], -1, self.states),
            flat,
            F.linear(steps, self.step.weight),
            -self.A_log.exp(),
            writes,
            reads,
            self.D,
            delta_bias=self.step.bias,
        )
        return (
            y.view(*grid, -1).movedim(-1, 1),
            new.view(*grid, -1, self.states).movedim(-2, 1),
        )


class StepScan(nn.Module):
    """`ConvGRU` whose gates are selective state spaces along the unrolled steps.

    Its decay depends on the input as a gate's does; the state of a pixel is a vector.

    Args:
        in_channels: Of the image; 2 for (real, imaginary).
        hidden_channels: Of the states.
        num_layers: Recurrent layers.
        states: States a channel.

    Shape:
        x: (B, C, H, W), state: (B, hidden, H, W, layers, states), or (B, hidden, H, W, layers)
        from an initialiser, or None for zeros; results (B, C, H, W) and a state.

    Source:
        Ours, after RECON section 10 B.
    """

    def __init__(
        self,
        in_channels: int = 2,
        hidden_channels: int = 64,
        num_layers: int = 2,
        states: int = 16,
    ) -> None:
        super().__init__()
        self.num_layers, self.states = num_layers, states
        self.convs = nn.ModuleList(
            border_conv(
                in_channels if i == 0 else hidden_channels,
                in_channels if i == num_layers else hidden_channels,
                kernel=5 if i == 0 else 3,
                dilation=2 if i == 1 else 1,
            )
            for i in range(num_layers + 1)
        )
        self.layers = nn.ModuleList(StepLayer(hidden_channels, states) for _ in range(num_layers))
        # spreads the one number that an initialiser gives over the states of a channel
        self.lift = nn.Parameter(torch.full((hidden_channels, 1, 1, states), 1 / states))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take one step of the recurrence."""
        c, states = x, list[Tensor]()
        for i, layer in enumerate(self.layers):
            c = F.relu(self.convs[i](c))
            y, new = layer(c, self._state(c, state, i))
            states.append(new)
            c = F.relu(y)
        return self.convs[-1](c), torch.stack(states, dim=-2)

    def _state(self, c: Tensor, state: Tensor | None, layer: int) -> Tensor:
        if state is None:
            return self.lift * c.new_zeros(*c.shape, self.states)
        if state.ndim == c.ndim + 2:
            return state[..., layer, :]
        return self.lift * state[..., layer, None]
