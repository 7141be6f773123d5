"""A gated recurrence whose inner convolutions are scans over the whole image."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.conv_gru import SPATIAL_DIMS, Gates, border_conv
from medssm.layers.mixers import build_mixer


class ScanLayer(nn.Module):
    """x + mixer(norm(x)) over a channels-first map.

    Shape:
        x: (B, C, H, W), result the same.
    """

    def __init__(self, channels: int, mixer: Mapping[str, Any]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mixer = build_mixer(mixer, channels, SPATIAL_DIMS)

    def forward(self, x: Tensor) -> Tensor:
        """Mix all positions."""
        tokens = x.movedim(1, -1)
        return x + self.mixer(self.norm(tokens)).movedim(-1, 1)


class ScanGRU(nn.Module):
    """`ConvGRU` whose layers 1 to n - 1 scan the image instead of convolving it.

    Folded copies lie W / R columns apart, farther than a stack of 3 x 3 windows sees in a step;
    a scan along the undersampled axis meets all of them.

    Args:
        in_channels: Of the image; 2 for (real, imaginary).
        hidden_channels: Of the states.
        num_layers: Recurrent layers; from two on there is a scan.
        mixer: Any mixer of a map; a cross-scan of four directions when not given, one state a
            channel and no gate, as VMamba's later form.

    Shape:
        x: (B, C, H, W), state: (B, hidden, H, W, layers) or None for zeros;
        results (B, C, H, W) and a state.

    Source:
        Ours, after RECON section 10 A: gates and states of the recurrent variational network,
        spatial mixing of VMamba.
    """

    def __init__(
        self,
        in_channels: int = 2,
        hidden_channels: int = 64,
        num_layers: int = 2,
        mixer: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        chosen = mixer or {"name": "cross_scan", "state": 1, "expand": 1.0, "gate": "none"}
        self.num_layers = num_layers
        self.first = border_conv(in_channels, hidden_channels, kernel=5)
        self.scans = nn.ModuleList(
            ScanLayer(hidden_channels, chosen) for _ in range(num_layers - 1)
        )
        self.last = border_conv(hidden_channels, in_channels)
        self.gates = nn.ModuleList(Gates(hidden_channels) for _ in range(num_layers))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take one step of the recurrence."""
        c, states = x, list[Tensor]()
        for i, layer in enumerate((self.first, *self.scans)):
            c = F.relu(layer(c))
            h = torch.zeros_like(c) if state is None else state[..., i]
            states.append(self.gates[i](c, h))
            c = F.relu(states[-1])
        return self.last(c), torch.stack(states, dim=-1)
