"""What gives a recurrent variational network its first states: convolutions over k-space."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.conv_gru import SPATIAL_DIMS, border_conv
from medssm.layers.dims import convolution


class StateInitializer(nn.Module):
    """Dilated convolutions over k-space that give the first hidden states (RSI).

    Args:
        hidden_channels: Of the states.
        num_layers: Recurrent layers, a head each.
        channels: Of the convolutions.
        dilations: Of the convolutions.
        multiscale: How many of the last activations the heads see.

    Shape:
        x: (B, 2, H, W), result (B, hidden, H, W, layers), all at least zero.

    Source:
        RECON section 2.3.
    """

    def __init__(
        self,
        hidden_channels: int,
        num_layers: int,
        *,
        channels: Sequence[int] = (32, 32, 64, 64),
        dilations: Sequence[int] = (1, 1, 2, 4),
        multiscale: int = 1,
        in_channels: int = 2,
    ) -> None:
        super().__init__()
        if len(channels) != len(dilations) or not 1 <= multiscale <= len(channels):
            raise BadArgumentError(
                f"initializer: {len(channels)} channels, {len(dilations)} dilations, multiscale "
                f"{multiscale}; expected as many dilations as channels and multiscale among them."
            )
        self.multiscale = multiscale
        inputs = (in_channels, *channels)
        self.convs = nn.ModuleList(
            border_conv(inputs[i], channels[i], dilation=dilations[i]) for i in range(len(channels))
        )
        self.heads = nn.ModuleList(
            convolution(
                SPATIAL_DIMS, sum(channels[-multiscale:]), hidden_channels, kernel=1, bias=True
            )
            for _ in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """From k-space to states."""
        features = []
        for conv in self.convs:
            x = F.relu(conv(x))
            features.append(x)
        joined = torch.cat(features[-self.multiscale :], 1)
        return torch.stack([F.relu(head(joined)) for head in self.heads], dim=-1)
