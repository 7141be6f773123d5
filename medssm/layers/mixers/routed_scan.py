"""One selective state space a route, all over the same map: the core that cross-scans share."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssm.layers.linear import token_linears
from medssm.layers.mixers.mamba import (
    KernelCost,
    decay_parameter,
    step_projection,
    without_weight_decay,
)
from medssm.ops.routes import Routes
from medssm.ops.scan import selective_scan

StartName = Literal["s4d", "normal", "flat"]
FUSED_RANK = 16
"""Up to this rank the scan's kernel multiplies the low-rank step out itself."""


class RoutedScan(nn.Module):
    """K selective scans (S6), each along its own route and with its own parameters.

    For route k: (delta, B, C) = W_k u, s = softplus(V_k delta + b_k),
    h_t = exp(s A_k) h_{t-1} + s B u, y_k = C h + D_k u.

    Args:
        channels: Width e of the map.
        routes: Number of routes K.
        state: States N a channel.
        rank: Rank R of the step projection.
        start: Start values: "s4d" (A = -1..-N, steps log-uniform in 0.001..0.1; VMamba's "v0"),
            "normal" ("v1") or "flat" ("v2").

    Shape:
        u: (B, L, e); result (B, L, e), or (B, K, L, e) unmerged.

    Source:
        Gu and Dao, "Mamba", 2023; grouped over routes by Liu et al., "VMamba", 2024.
    """

    def __init__(
        self, channels: int, routes: int, state: int, rank: int, start: StartName = "s4d"
    ) -> None:
        super().__init__()
        bound = channels**-0.5  # PyTorch's own start of a linear layer
        projection = torch.empty(routes, rank + 2 * state, channels).uniform_(-bound, bound)
        self.x_proj = nn.Parameter(projection)
        steps = [step_projection(rank, channels) for _ in range(routes)]
        self.dt_weight = nn.Parameter(torch.stack([step.weight.detach() for step in steps]))
        bias = torch.stack([step.bias.detach() for step in steps])
        self.dt_bias = without_weight_decay(nn.Parameter(bias))
        decay = decay_parameter(channels, state).detach().expand(routes, -1, -1).clone()
        self.A_log = without_weight_decay(nn.Parameter(decay))
        self.D = without_weight_decay(nn.Parameter(torch.ones(routes, channels)))
        if start != "s4d":
            self._start_otherwise(start)

    @torch.no_grad()
    def _start_otherwise(self, start: StartName) -> None:
        steps = (self.dt_weight, self.dt_bias)
        if start == "normal":
            self.A_log.normal_()
            for each in steps:
                each.normal_(std=0.1)
        else:
            self.A_log.zero_()
            for each in steps:
                each.uniform_(0, 0.1)

    def forward(
        self,
        u: Tensor,
        routes: Routes | None,
        merge: Literal["sum", "none"] = "sum",
        lengths: Tensor | None = None,
        shared_skip: bool = True,
    ) -> Tensor:
        """Scan along every route; no token moves.

        Without the shared skip, D_0 u, which every route has, stays out of every y_k.
        """
        arguments = self.arguments(u)
        if not shared_skip:
            arguments["D"] = arguments["D"] - arguments["D"][0]
        return selective_scan(u, **arguments, routes=routes, merge=merge, lengths=lengths)

    def arguments(
        self, u: Tensor, project: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, Any]:
        """Step, decay and weights for `selective_scan`, projected from its input.

        Args:
            u: The input.
            project: What else than every route at every token is projected by a set of weights.

        Shape:
            u: (B, L, e) shared by the routes, or (B, K, L, e) with a map for each;
            project: (K, R or N, e) to (B, K, L, R or N).
        """
        rank, state = self.dt_weight.shape[-1], self.A_log.shape[-1]
        parts = self.x_proj.split_with_sizes((rank, state, state), dim=1)
        wide = self._projected(u, parts) if project is None else map(project, parts)
        delta, B, C = wide
        fused = rank <= FUSED_RANK
        if not fused:
            delta = torch.einsum("bklr,kdr->bkld", delta, self.dt_weight)
        return {
            "delta": delta,
            "A": -torch.exp(self.A_log.float()),
            "B": B,
            "C": C,
            "D": self.D.float(),
            "delta_weight": self.dt_weight if fused else None,
            "delta_bias": self.dt_bias.float(),
        }

    def _projected(self, u: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
        """The parts of the projection of every token, (B, K, L, R or N)."""
        if u.dim() == 4:
            return [torch.einsum("bkle,kre->bklr", u, part) for part in parts]
        batch, length, _ = u.shape
        projected = token_linears(u, *(part.flatten(0, 1).to(u.dtype) for part in parts))
        return [
            each.view(batch, length, len(self.x_proj), -1).transpose(1, 2) for each in projected
        ]  # views

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the fused operator computes for so many tokens: 9 N + 1 operations a channel."""
        rank = self.dt_weight.shape[-1]
        macs = tokens * self.dt_weight.numel() if rank <= FUSED_RANK else 0
        return KernelCost(macs, tokens * (9 * self.A_log.numel() + self.D.numel()))
