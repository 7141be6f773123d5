"""Saliency: which samples of which lead moved the decisions."""

import numpy as np
import torch
from torch import Tensor, nn

from medssm.fields.ecg.windows import Reader, WindowPlan

_STEPS = 16


def saliency_of(
    reader: Reader,
    signal: np.ndarray,
    about: tuple[float, float],
    plan: WindowPlan,
    decided: np.ndarray,
    method: str = "gradient",
) -> np.ndarray | None:
    """How strongly each sample of the shown window speaks for what was decided, 0 to 1.

    "gradient" is |x * d(sum of decided logits)/dx|; "integrated" averages the gradient on the way
    from the flat signal (16 steps). Without a yes the class with the highest logit is taken.

    Shape:
        signal: (C, T), decided: (K,); result (C, length), or None with method="none".

    Source:
        Simonyan et al., 2014; Sundararajan et al., "Axiomatic attribution", 2017.
    """
    if method == "none":
        return None
    window = plan.cut(signal, plan.starts(signal.shape[1]))
    x = torch.from_numpy(window).to(reader.device)
    patient = torch.tensor([about], dtype=torch.float32, device=reader.device)
    wanted = torch.from_numpy(np.asarray(decided, bool)).to(reader.device)
    shares = [1.0] if method == "gradient" else [(i + 0.5) / _STEPS for i in range(_STEPS)]
    total = torch.zeros_like(x)
    for network in reader.networks:
        for share in shares:
            total += _gradient(network, x * share, patient, wanted) / len(shares)
    strength = (x * total).abs()[0].cpu().numpy()
    top = float(np.quantile(strength, 0.999)) if strength.size else 0.0
    return np.clip(strength / top, 0, 1).astype(np.float32) if top > 0 else strength


def _gradient(network: nn.Module, x: Tensor, about: Tensor, wanted: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        logits = network(leaf, about)[0]
        goal = logits[wanted].sum() if bool(wanted.any()) else logits.max()
        (gradient,) = torch.autograd.grad(goal, leaf)
    return gradient
