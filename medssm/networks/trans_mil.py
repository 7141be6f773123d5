"""TransMIL: two Nystrom attention layers over a square of tiles, convolutions for positions."""

import math

import torch
from torch import Tensor, nn

from medssm.layers.dims import convolution
from medssm.layers.nystrom import NystromAttention, NystromFactors
from medssm.networks.bags import Activation, BagNetwork, BagOutput, Head, activation
from medssm.networks.mamba_mil import start_officially

KERNELS = (7, 5, 3)


class TransLayer(nn.Module):
    """h + attention(norm(h)).

    Shape:
        h: (B, n, C), result the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = NystromAttention(width)

    def forward(self, h: Tensor) -> tuple[Tensor, NystromFactors]:
        """Attend, and give the factors of the attention too."""
        more, factors = self.attention.attend(self.norm(h))
        return h + more, factors


class PositionPyramid(nn.Module):
    """The tokens as a square map, plus three depthwise convolutions of it; the class token aside.

    Shape:
        h: (B, 1 + side^2, C), result the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            convolution(2, width, width, kernel=kernel, groups=width, bias=True)
            for kernel in KERNELS
        )

    def forward(self, h: Tensor, side: int) -> Tensor:
        """Add what the neighbours say."""
        first, rest = h[:, :1], h[:, 1:]
        square = rest.transpose(1, 2).reshape(len(h), h.shape[2], side, side)
        mixed = square + sum(each(square) for each in self.convolutions)
        return torch.cat((first, mixed.flatten(2).transpose(1, 2)), dim=1)


class TransMIL(BagNetwork):
    """Transformer over a bag: the first tiles repeat until the bag is a square.

    The share of an instance is the attention of the class token in the second layer, mean of the
    heads, what is below 0 set to 0. Bags of a batch are read one after another.

    Args:
        in_channels: Width of the features.
        out_channels: Classes, or time bins of survival.
        width: Width of the tokens.
        activation: After the first layer.
        dropout: Rate after the activation.
        head: What the logits mean.

    Source:
        Shao et al., "TransMIL", 2021.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 512,
        activation: Activation = "relu",
        dropout: float = 0.25,
        head: Head = "classification",
    ) -> None:
        super().__init__(in_channels, out_channels, head)
        self.embed = nn.Linear(in_channels, width)
        self.activation = _activation(activation)
        self.dropout = nn.Dropout(dropout)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 1e-6)
        self.layers = nn.ModuleList(TransLayer(width) for _ in range(2))
        self.positions = PositionPyramid(width)
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, out_channels)
        start_officially(self)

    def read(self, bags: Tensor, lengths: Tensor | None) -> BagOutput:
        """Read the bags in turn."""
        counts = [bags.shape[1]] * len(bags) if lengths is None else lengths.tolist()
        embeddings, shares = [], []
        for bag, count in zip(bags, counts, strict=True):
            embedding, share = self._one(bag[None, :count])
            embeddings.append(embedding)
            shares.append(nn.functional.pad(share, (0, bags.shape[1] - count)))
        embedding = torch.cat(embeddings)
        return BagOutput(self.classifier(embedding), torch.stack(shares)[:, None], None, embedding)

    def _one(self, bag: Tensor) -> tuple[Tensor, Tensor]:
        h = self.dropout(self.activation(self.embed(bag)))
        count, side = h.shape[1], math.isqrt(h.shape[1] - 1) + 1
        repeated = torch.arange(side * side, device=h.device) % count
        h = torch.cat((self.class_token, h[:, repeated]), dim=1)
        h, _ = self.layers[0](h)
        h, factors = self.layers[1](self.positions(h, side))
        return self.norm(h)[:, 0], _class_attention(factors, repeated, count)


def _class_attention(factors: NystromFactors, repeated: Tensor, count: int) -> Tensor:
    first = factors.left.shape[2] - len(repeated) - 1  # the class token, behind the padding
    row = factors.left[0, :, first : first + 1] @ factors.inverse[0] @ factors.right[0]
    row = row[:, 0, first + 1 :].mean(0).clamp(min=0)  # (side^2,)
    share = row.new_zeros(count).index_add(0, repeated, row)
    return share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)


_activation = activation
