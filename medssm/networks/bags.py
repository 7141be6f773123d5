"""The contract of every network over bags: ragged batches in; logits, attention, embedding out."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError

Head = Literal["classification", "survival"]
Activation = Literal["relu", "gelu", "none"]


class BagOutput(NamedTuple):
    """What a network says of a batch of bags.

    Args:
        logits: Of the classes; for survival of the hazards of the time bins.
        attention: Share of each instance in the answer, one row in all or one a class; each row
            sums to 1 over the bag, padding has 0.
        scores: The attention before its softmax, where the network has such.
        embedding: What the classifier sees, where there is one vector for it.

    Shape:
        logits: (B, K), attention, scores: (B, 1 or K, L), embedding: (B, D) or (B, K, D).
    """

    logits: Tensor
    attention: Tensor
    scores: Tensor | None = None
    embedding: Tensor | None = None


class BagNetwork(nn.Module, ABC):
    """Base of the networks over bags.

    Args:
        in_channels: Width of the features.
        out_channels: Classes, or time bins of survival.
        head: What the logits mean; it changes no arithmetic, and travels with the checkpoint.

    Shape:
        bags: (B, L, C) of any floating type, lengths: (B,).
    """

    divisors: tuple[int, ...] = ()

    def __init__(self, in_channels: int, out_channels: int, head: Head) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.head = in_channels, out_channels, head

    def forward(self, bags: Tensor, lengths: Tensor | None = None) -> BagOutput:
        """Read a batch of bags.

        Args:
            bags: Features, padded at the end.
            lengths: Instances of each bag; None where every bag fills the batch.

        Raises:
            BadArgumentError: Wrong axes or width, or a bag without an instance.
        """
        if bags.dim() != 3 or bags.shape[-1] != self.in_channels or not bags.shape[1]:
            raise BadArgumentError(
                f"bags have the shape {tuple(bags.shape)}; expected (batch, instances above 0, "
                f"{self.in_channels} features)"
            )
        if lengths is not None:
            _check_lengths(bags, lengths)
            lengths = lengths.to(bags.device)
        return self.read(bags.to(next(self.parameters()).dtype), lengths)

    @abstractmethod
    def read(self, bags: Tensor, lengths: Tensor | None) -> BagOutput:
        """The network itself, on checked bags."""


def _check_lengths(bags: Tensor, lengths: Tensor) -> None:
    if torch.compiler.is_compiling():
        return
    low, high = int(lengths.min()), int(lengths.max())
    if lengths.shape != bags.shape[:1] or low < 1 or high > bags.shape[1]:
        raise BadArgumentError(
            f"lengths {lengths.tolist()} do not fit bags of the shape {tuple(bags.shape)}; expected"
            f" one a bag, each from 1 to {bags.shape[1]}. A bag without instances has no answer."
        )


def activation(name: Activation) -> nn.Module:
    """The module of a name; gelu is the exact form."""
    return {"relu": nn.ReLU, "gelu": nn.GELU, "none": nn.Identity}[name]()
