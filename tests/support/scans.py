"""Inputs of a selective scan from a seed, and the gradients of a call over them."""

import torch
from torch import Tensor

from medssm.ops.backends import prefer
from medssm.ops.scan import selective_scan


def scan_tensors(b=2, k=2, length=9, d=5, n=4, seed=0, dtype=torch.float64, shared=True):
    """Every tensor of a call, by the name of its argument."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64)

    tensors = {
        "u": normal(b, length, d) if shared else normal(b, k, length, d),
        "delta": normal(b, k, length, d) - 1,
        "A": -torch.rand((k, d, n), generator=g, dtype=torch.float64) * 2,
        "B": normal(b, k, length, n),
        "C": normal(b, k, length, n),
        "D": normal(k, d),
        "delta_bias": normal(k, d) * 0.3,
        "z": normal(b, length, d),
        "initial_state": normal(b, k, d, n),
    }
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def orders(k: int, length: int, seed: int = 3) -> Tensor:
    """Random routes."""
    g = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(length, generator=g) for _ in range(k)]).int()


def values_and_gradients(backend: str, tensors: dict[str, Tensor], **options):
    """Output, last state and all gradients of an uneven sum of both, by name."""
    leaves = {name: t.detach().clone().requires_grad_() for name, t in tensors.items()}
    with prefer(backend):
        out, last = selective_scan(**leaves, **options, return_last_state=True)
    weight = torch.linspace(0.5, 1.5, out.numel(), dtype=torch.float64, device=out.device)
    weight = weight.view(out.shape)
    loss = (out.double() * weight).sum() + last.double().square().sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"out": out, "last": last, **dict(zip(leaves, gradients, strict=True))}


def assert_near(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    """Every tensor is equal up to a share of its own maximum."""
    for name, true in theirs.items():
        scale = float(true.detach().abs().max()) if true.numel() else 1.0
        worst = (ours[name].double() - true.double()).detach().abs()
        assert float(worst.max() if worst.numel() else 0) <= tolerance * (scale or 1.0), name
