"""Pooling over the instances of ragged bags: masks, softmax over what is there, scores."""

from typing import cast

import torch
from torch import Tensor, nn


def valid_instances(bags: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Which places of a padded batch hold an instance; None where all do.

    Shape:
        bags: (B, L, C), lengths: (B,), result (B, L).
    """
    if lengths is None:
        return None
    return torch.arange(bags.shape[1], device=bags.device) < lengths.to(bags.device)[:, None]


def masked_softmax(scores: Tensor, valid: Tensor | None) -> Tensor:
    """Softmax over the instances; 0 where there is none.

    Shape:
        scores: (B, A, L), valid: (B, L), result (B, A, L).
    """
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None], float("-inf"))
    return scores.softmax(dim=-1)


class TanhScores(nn.Sequential):
    """One score an instance: w tanh(V h + b) + c.

    Shape:
        h: (B, L, C), result (B, rows, L).

    Source:
        Ilse et al., "Attention-based Deep Multiple Instance Learning", 2018, equation 8.
    """

    def __init__(self, channels: int, width: int, rows: int = 1) -> None:
        super().__init__(nn.Linear(channels, width), nn.Tanh(), nn.Linear(width, rows))

    def forward(self, h: Tensor) -> Tensor:
        """Score every instance."""
        for layer in self:
            h = layer(h)
        return h.transpose(1, 2)


class GatedScores(nn.Module):
    """Scores with a gate: w (tanh(V h) * sigmoid(U h)).

    Args:
        channels: Width of the instances.
        width: Width of the attention.
        rows: Scores an instance.
        dropout: Rate after each of both factors.

    Shape:
        h: (B, L, C), result (B, rows, L).

    Source:
        Ilse et al., 2018, equation 9.
    """

    def __init__(self, channels: int, width: int, rows: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Linear(channels, width)
        self.gate = nn.Linear(channels, width)
        self.scores = nn.Linear(width, rows)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        """Score every instance."""
        value = self.dropout(torch.tanh(self.value(h)))
        gate = self.dropout(torch.sigmoid(self.gate(h)))
        return cast("Tensor", self.scores(value * gate)).transpose(1, 2)
