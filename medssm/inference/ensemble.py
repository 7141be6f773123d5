"""Several networks that answer as one: the mean of their logits."""

from collections.abc import Sequence

from torch import Tensor, nn


class Ensemble(nn.Module):
    """Averages the logits of networks of the same kind, e.g. of the folds of a cross-validation.

    Args:
        networks: At least one.

    Source:
        nnU-Net v2 averages logits over folds, not probabilities.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        divisors = getattr(networks[0], "divisors", None)
        if divisors is not None:
            self.divisors = tuple(divisors)

    def forward(self, patches: Tensor) -> Tensor:
        """Mean logits.

        Shape:
            patches: (B, C, *S); result: (B, K, *S).
        """
        total = self.networks[0](patches).float()
        for network in self.networks[1:]:
            total = total + network(patches).float()
        return total / len(self.networks)
