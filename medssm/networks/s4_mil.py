"""S4-MIL: one diagonal state-space layer over the tiles, and the largest value of each channel."""

import torch
from torch import Tensor, nn

from medssm.layers.attention_pool import valid_instances
from medssm.layers.mixers.ragged import mix_bags
from medssm.layers.mixers.s4d import S4D
from medssm.networks.bags import Activation, BagNetwork, BagOutput, Head, activation


class S4MIL(BagNetwork):
    """h = act(W x + b); h = S4D(norm(h)), no residual; e = max over instances; linear.

    The share of an instance is the share of channels whose largest value it holds.

    Args:
        in_channels: Width of the features.
        out_channels: Classes, or time bins of survival.
        width: Width of the tokens.
        state: States a channel, in conjugate pairs.
        activation: After the first layer.
        dropout: Rate after the activation and in the S4D layer.
        head: What the logits mean.

    Source:
        Fillioux et al., "Structured State Space Models for Multiple Instance Learning in Digital
        Pathology", 2023, as in MambaMIL's comparison.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 512,
        state: int = 32,
        activation: Activation = "gelu",
        dropout: float = 0.25,
        head: Head = "classification",
    ) -> None:
        super().__init__(in_channels, out_channels, head)
        self.embed = nn.Linear(in_channels, width)
        self.activation = _activation(activation)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.mixer = S4D(width, state=state, dropout=dropout)
        self.classifier = nn.Linear(width, out_channels)

    def read(self, bags: Tensor, lengths: Tensor | None) -> BagOutput:
        """Embed, filter, take the largest, classify."""
        h = self.norm(self.dropout(self.activation(self.embed(bags))))
        h = mix_bags(self.mixer, h, lengths)
        valid = valid_instances(bags, lengths)
        if valid is not None:
            h = h.masked_fill(~valid[..., None], float("-inf"))
        embedding, where = h.max(dim=1)  # (B, D)
        share = torch.zeros_like(h[..., 0]).scatter_add(
            1, where, torch.full_like(embedding, 1 / embedding.shape[1])
        )
        return BagOutput(self.classifier(embedding), share[:, None], None, embedding)


_activation = activation
