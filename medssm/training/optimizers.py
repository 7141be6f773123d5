"""Optimisers by name, with weight decay only where it belongs."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from medssm.core.errors import UsageError

# the decay of a state-space layer, its skip and its step size are rates, not weights
_RATES = frozenset({"A_log", "A_logs", "D", "Ds", "dt_bias", "dt_projs_bias", "delta_bias"})


@dataclass(frozen=True)
class OptimizerConfig:
    """An optimiser and its numbers.

    Args:
        name: Which optimiser.
        lr: Learning rate at the top of the schedule.
        weight_decay: Decoupled for adamw, added to the gradient for adam and sgd.
        final_weight_decay: What the decay becomes over the run, along half a cosine; None keeps it.
        betas: Averages of adam and adamw.
        eps: Divisor's floor of adam and adamw.
        momentum: Of sgd, in Nesterov's form.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    final_weight_decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.99

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "final_weight_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"optimizer.{name}={value}: expected 0 or more.")
        shares = {"momentum": self.momentum, "betas": max(self.betas, key=lambda b: abs(b - 0.5))}
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise UsageError(f"optimizer.{name}={getattr(self, name)}: expected 0 to below 1.")


def takes_decay(name: str, parameter: nn.Parameter) -> bool:
    """Say whether weight decay may act on a parameter (not on norms, biases and rates)."""
    if getattr(parameter, "_no_weight_decay", False) or parameter.ndim < 2:
        return False
    return name.rpartition(".")[2] not in _RATES


def build_optimizer(config: OptimizerConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Make the optimiser over a network's trainable parameters, in two groups."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for name, p in named if takes_decay(name, p)],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for name, p in named if not takes_decay(name, p)], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "sgd":
        nesterov = config.momentum > 0
        return torch.optim.SGD(groups, config.lr, momentum=config.momentum, nesterov=nesterov)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, config.lr, betas=config.betas, eps=config.eps)


def weight_decay_at(config: OptimizerConfig, progress: float) -> float:
    """The weight decay when a share of the run is done, 0 to 1."""
    if config.final_weight_decay is None:
        return config.weight_decay
    share = 0.5 * (1.0 - math.cos(math.pi * min(1.0, max(0.0, progress))))
    return config.weight_decay + share * (config.final_weight_decay - config.weight_decay)


def set_rates(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, share: float, progress: float
) -> None:
    """Give every group its learning rate and weight decay of this step.

    Args:
        optimizer: As `build_optimizer` made it: a group without decay stays without.
        config: What it was made of.
        share: Part of the top learning rate.
        progress: How far the run has come, 0 to 1.
    """
    for group in optimizer.param_groups:
        group["lr"] = config.lr * share
        if group["weight_decay"]:
            group["weight_decay"] = weight_decay_at(config, progress)
