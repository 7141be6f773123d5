"""The convolutional gated recurrent unit that regularises a recurrent variational network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.dims import convolution, instance_norm, replication_pad

SPATIAL_DIMS = 2
"""Reconstruction works slice by slice."""


def border_conv(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 3,
    dilation: int = 1,
    replicate: bool = True,
) -> nn.Sequential:
    """A convolution that keeps the size; beyond the border stand its last values, or zeros.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the result.
        kernel: Edge of the window, odd.
        dilation: Distance of its taps.
        replicate: Repeat the border instead of zeros.

    Shape:
        x: (B, C, H, W), result (B, K, H, W).
    """
    reach = kernel // 2 * dilation
    conv = convolution(
        SPATIAL_DIMS,
        in_channels,
        out_channels,
        kernel=kernel,
        bias=True,
        dilation=dilation,
        padding=0 if replicate else reach,
    )
    # two modules or one: the official keys tell the border from the place of the convolution
    return nn.Sequential(*[replication_pad(SPATIAL_DIMS, reach)] * replicate, conv)


class Gates(nn.Module):
    """The three gates of one layer: from input c and state h to the new state.

    u = sigmoid(W_u [c, h]); r = sigmoid(W_r [c, h]); d = tanh(W_o [c, h r]);
    h' = h (1 - u) + d u.

    Args:
        channels: Of input and state.
        kernel: Edge of the window of the gates.
        normalise: Instance norm of what goes into each gate.
        orthogonal: Orthogonal weights at the start, the reset bias at -1.

    Shape:
        c, h: (B, C, H, W), result the same.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel: int = 1,
        normalise: bool = False,
        orthogonal: bool = True,
    ) -> None:
        super().__init__()
        self.reset, self.update, self.out = (
            nn.Sequential(
                *[instance_norm(SPATIAL_DIMS, 2 * channels)] * normalise,
                convolution(SPATIAL_DIMS, 2 * channels, channels, kernel=kernel, bias=True),
            )
            for _ in range(3)
        )
        if orthogonal:
            for gate, bias in ((self.reset, -1.0), (self.update, 0.0), (self.out, 0.0)):
                nn.init.orthogonal_(gate[-1].weight)  # type: ignore[arg-type]
                nn.init.constant_(gate[-1].bias, bias)  # type: ignore[arg-type]

    def forward(self, c: Tensor, h: Tensor) -> Tensor:
        """Take one step."""
        joined = torch.cat((c, h), 1)
        update, reset = torch.sigmoid(self.update(joined)), torch.sigmoid(self.reset(joined))
        proposed = torch.tanh(self.out(torch.cat((c, h * reset), 1)))
        return h * (1 - update) + proposed * update


class ConvGRU(nn.Module):
    """Convolutions with a gated recurrence behind each of them but the last.

    Args:
        in_channels: Of the image; 2 for (real, imaginary).
        hidden_channels: Of the states.
        out_channels: Of the result; `in_channels` when not given.
        num_layers: Recurrent layers.
        gru_kernel: Edge of the window of the gates.
        orthogonal: Orthogonal gates at the start.
        normalise: Instance norm of what goes into the gates.
        dense: How many earlier activations each later convolution sees beside its input.
        replicate: Repeat the border in convolutions; with zeros the official code fails from two
            layers on (its dilated layer is padded by one), here it keeps the size.

    Shape:
        x: (B, C, H, W), state: (B, hidden, H, W, layers) or None for zeros;
        results (B, K, H, W) and a state.

    Source:
        Yiasemis et al., "Recurrent Variational Network", CVPR 2022; RECON section 2.1.
    """

    def __init__(
        self,
        in_channels: int = 2,
        hidden_channels: int = 64,
        out_channels: int | None = None,
        num_layers: int = 2,
        gru_kernel: int = 1,
        orthogonal: bool = True,
        normalise: bool = False,
        dense: int = 0,
        replicate: bool = True,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise BadArgumentError(f"num_layers={num_layers}: expected 1 or more.")
        self.num_layers, self.dense = num_layers, dense
        self.convs = nn.ModuleList()
        for i in range(num_layers + 1):
            seen = in_channels if i == 0 else (1 + min(i, dense)) * hidden_channels
            made = (out_channels or in_channels) if i == num_layers else hidden_channels
            self.convs.append(
                border_conv(
                    seen,
                    made,
                    kernel=5 if i == 0 else 3,
                    dilation=2 if i == 1 else 1,
                    replicate=replicate,
                )
            )
        self.gates = nn.ModuleList(
            Gates(
                hidden_channels,
                kernel=gru_kernel,
                normalise=normalise,
                orthogonal=orthogonal,
            )
            for _ in range(num_layers)
        )

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take one step of the recurrence."""
        c, kept, states = x, list[Tensor](), list[Tensor]()
        for i, gates in enumerate(self.gates):
            c = F.relu(self.convs[i](self._with_kept(c, kept)))
            if self.dense:
                kept.append(c)
            h = torch.zeros_like(c) if state is None else state[..., i]
            states.append(gates(c, h))
            c = F.relu(states[-1])
        return self.convs[-1](self._with_kept(c, kept)), torch.stack(states, dim=-1)

    def _with_kept(self, c: Tensor, kept: Sequence[Tensor]) -> Tensor:
        return torch.cat((*kept[-self.dense :], c), 1) if self.dense and kept else c


class NormalisedUnit(nn.Module):
    """A recurrent unit that sees its input without mean and spread, and gives them back.

    Args:
        unit: Any recurrent unit.
        groups: Groups of channels, each with its own mean and (unbiased) standard deviation.

    Shape:
        As the unit; the result must have as many channels as the input.
    """

    def __init__(self, unit: nn.Module, groups: int = 2) -> None:
        super().__init__()
        self.unit, self.groups = unit, groups

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalise, step, restore."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        mean, spread = grouped.mean(-1, keepdim=True), grouped.std(-1, keepdim=True)
        out, state = self.unit(((grouped - mean) / spread).reshape(x.shape), state)
        shaped = out.reshape(out.shape[0], self.groups, -1) * spread + mean
        return shaped.reshape(out.shape), state
