"""Bag networks without order: mean, maximum, attention and gated attention over instances."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.attention_pool import GatedScores, TanhScores, masked_softmax, valid_instances
from medssm.networks.bags import Activation, BagNetwork, BagOutput, Head, activation


class InstanceMIL(BagNetwork):
    """Every instance is classified; the bag has the mean of the logits, or each class's largest.

    Args:
        in_channels: Width of the features.
        out_channels: Classes, or time bins of survival.
        pooling: "mean" or "max".
        width: Width of the hidden layer.
        activation: After it.
        dropout: Rate after the activation.
        head: What the logits mean.

    Source:
        MeanMIL and MaxMIL as in MambaMIL's comparison, 2024.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        pooling: Literal["mean", "max"] = "mean",
        width: int = 512,
        activation: Activation = "gelu",
        dropout: float = 0.25,
        head: Head = "classification",
    ) -> None:
        super().__init__(in_channels, out_channels, head)
        self.pooling = pooling
        self.embed = nn.Linear(in_channels, width)
        self.activation = _activation(activation)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, out_channels)

    def read(self, bags: Tensor, lengths: Tensor | None) -> BagOutput:
        """Classify the instances, then pool."""
        valid = valid_instances(bags, lengths)
        each = self.classifier(self.dropout(self.activation(self.embed(bags)))).transpose(1, 2)
        if self.pooling == "mean":
            attention = masked_softmax(torch.zeros_like(each[:, :1]), valid)
            kept = each if valid is None else each.masked_fill(~valid[:, None], 0.0)
            return BagOutput((kept * attention).sum(-1), attention, each)
        if valid is not None:
            each = each.masked_fill(~valid[:, None], float("-inf"))
        logits, where = each.max(-1)
        attention = F.one_hot(where, each.shape[-1]).to(each.dtype)
        return BagOutput(logits, attention, each)


class AttentionMIL(BagNetwork):
    """Attention-based pooling of embedded instances, plain or gated.

    h = act(W x + b) once or several times;  e = sum_l softmax(a(h))_l h_l;  logits = W_c e + b_c.

    Args:
        in_channels: Width of the features.
        out_channels: Classes, or time bins of survival.
        gated: Whether the attention has a gate.
        widths: Widths of the layers before the attention; the paper has 256, 128, 64 on MUSK.
        attention_width: Inner width of the attention.
        activation: After each layer.
        dropout: Rate after each activation.
        head: What the logits mean.

    Source:
        Ilse et al., "Attention-based Deep Multiple Instance Learning", 2018.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        gated: bool = False,
        widths: Sequence[int] = (512,),
        attention_width: int = 128,
        activation: Activation = "relu",
        dropout: float = 0.25,
        head: Head = "classification",
    ) -> None:
        super().__init__(in_channels, out_channels, head)
        if not widths:
            raise BadArgumentError("widths is empty; give the width of one layer at least.")
        layers: list[nn.Module] = []
        for before, after in pairwise((in_channels, *widths)):
            layers += [nn.Linear(before, after), _activation(activation), nn.Dropout(dropout)]
        self.embed = nn.Sequential(*layers)
        scores = GatedScores if gated else TanhScores
        self.attention = scores(widths[-1], attention_width)
        self.classifier = nn.Linear(widths[-1], out_channels)

    def read(self, bags: Tensor, lengths: Tensor | None) -> BagOutput:
        """Embed, attend, classify."""
        valid = valid_instances(bags, lengths)
        h = self.embed(bags)
        scores = self.attention(h)
        attention = masked_softmax(scores, valid)
        embedding = (attention @ h)[:, 0]
        return BagOutput(self.classifier(embedding), attention, scores, embedding)


_activation = activation
