"""MambaMIL: a bag of tiles read as a sequence by state-space layers, pooled by attention."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.attention_pool import TanhScores, masked_softmax, valid_instances
from medssm.layers.mixers import build_mixer
from medssm.layers.mixers.ragged import mix_bags
from medssm.networks.bags import Activation, BagNetwork, BagOutput, Head, activation

Init = Literal["official", "mamba"]


class BagLayer(nn.Module):
    """A residual layer: h + mixer(norm(h)).

    Shape:
        h: (B, L, C), lengths: (B,), result (B, L, C).
    """

    def __init__(self, width: int, mixer: Mapping[str, Any], layer: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixer = build_mixer(mixer, width, spatial_dims=1, layer=layer)

    def forward(self, h: Tensor, lengths: Tensor | None) -> Tensor:
        """Add what the mixer says of the normed tokens."""
        return h + mix_bags(self.mixer, self.norm(h), lengths)


class MambaMIL(BagNetwork):
    """Linear, state-space layers over the tiles in their order, norm, attention pooling, linear.

    h = act(W x + b);  h = h + mixer_i(norm_i(h)) for each layer;  h = norm(h);
    a_l = w tanh(V h_l + c) + d,  e = sum_l softmax(a)_l h_l,  logits = W_c e + b_c.

    The answer depends on the order of the tiles. The mixers of the paper are ``mamba``,
    ``bidirectional`` (BiMamba) and ``srmamba``; ``lbmamba``, and ``srmamba`` with a window, put
    the locally bidirectional scan in their place: the wiring of both is ours.

    Args:
        in_channels: Width of the features.
        out_channels: Classes, or time bins of survival.
        width: Width D of the tokens.
        attention_width: Inner width of the attention.
        depth: Layers.
        mixer: Name and arguments of the mixer.
        activation: After the first layer.
        dropout: Rate after the activation.
        head: "classification" or "survival", whose logits are those of the hazards.
        init: "mamba" keeps Mamba's own start of the step size; "official" gives every linear layer
            Xavier weights and no bias, the step's too, as the authors' code does: the memory of the
            slowest state then starts at about one tile.

    Source:
        Yang et al., "MambaMIL", 2024; "LBMamba", 2025.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 512,
        attention_width: int = 128,
        depth: int = 2,
        mixer: Mapping[str, Any] | None = None,
        activation: Activation = "gelu",
        dropout: float = 0.25,
        head: Head = "classification",
        init: Init = "mamba",
    ) -> None:
        super().__init__(in_channels, out_channels, head)
        if depth < 0 or not 0 <= dropout < 1:
            raise BadArgumentError(
                f"depth must be 0 or more and dropout from 0 to below 1; found depth={depth}, "
                f"dropout={dropout}."
            )
        chosen = {"name": "srmamba"} if mixer is None else mixer
        self.embed = nn.Linear(in_channels, width)
        self.activation = _activation(activation)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(BagLayer(width, chosen, i) for i in range(depth))
        self.norm = nn.LayerNorm(width)
        self.attention = TanhScores(width, attention_width)
        self.classifier = nn.Linear(width, out_channels)
        if init == "official":
            start_officially(self)

    def read(self, bags: Tensor, lengths: Tensor | None) -> BagOutput:
        """Embed, mix, pool and classify."""
        h = self.dropout(self.activation(self.embed(bags)))
        for layer in self.layers:
            h = layer(h, lengths)
        return self.pool(self.norm(h), valid_instances(bags, lengths))

    def pool(self, h: Tensor, valid: Tensor | None) -> BagOutput:
        """Attend over the tokens and classify.

        Shape:
            h: (B, L, D), valid: (B, L).
        """
        scores = self.attention(h)
        attention = masked_softmax(scores, valid)
        if valid is not None:
            h = h.masked_fill(~valid[..., None], 0.0)
        embedding = (attention @ h)[:, 0]
        return BagOutput(self.classifier(embedding), attention, scores, embedding)


_activation = activation


def start_officially(network: nn.Module) -> None:
    """Start as the authors' code does: Xavier weights and no bias in every linear layer."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
