"""Normalisations over channels-last maps."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError

NormName = Literal["group", "instance"]
GROUPS = 8


class MapNorm(nn.GroupNorm):
    """Group norm (8 groups) or instance norm (a group a channel) of a channels-last map.

    Shape:
        x: (B, *S, C), result the same.
    """

    def __init__(self, channels: int, name: NormName = "group") -> None:
        groups = GROUPS if name == "group" else channels
        if channels % groups:
            raise BadArgumentError(
                f"group norm needs channels in multiples of {GROUPS}, found {channels}; "
                f"choose {-(-channels // GROUPS) * GROUPS} or norm=instance"
            )
        super().__init__(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each sample's groups over space."""
        seen = F.group_norm(x.movedim(-1, 1), self.num_groups, self.weight, self.bias, self.eps)
        return seen.movedim(1, -1)
