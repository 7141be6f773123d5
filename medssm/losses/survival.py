"""Losses of survival: hazards of time bins, and proportional hazards of a whole risk set."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

EPS = 1e-7
Ties = Literal["breslow", "efron"]


class Survival(NamedTuple):
    """What hazards say.

    Args:
        hazards: Probability of the event in each bin, given that it did not come before.
        survival: Probability that it did not come up to the end of each bin.
        risk: Minus the sum of the survival: higher is earlier.

    Shape:
        hazards, survival: (B, bins), risk: (B,).
    """

    hazards: Tensor
    survival: Tensor
    risk: Tensor


def survival_of(logits: Tensor) -> Survival:
    """Hazards sigmoid(logits), survival prod (1 - h) up to each bin, risk -sum S.

    Shape:
        logits: (B, bins).
    """
    hazards = torch.sigmoid(logits)
    survival = torch.cumprod(1 - hazards, dim=1)
    return Survival(hazards, survival, -survival.sum(dim=1))


def discrete_nll(
    hazards: Tensor, bins: Tensor, censored: Tensor, alpha: float = 0.0, eps: float = EPS
) -> Tensor:
    """Negative log-likelihood of discrete-time survival, one number a patient.

    With S_{-1} = 1, event bin Y and censorship c: uncensored = -(1 - c) (log S_{Y-1} + log h_Y),
    censored = -c log S_Y; result (1 - alpha) (uncensored + censored) + alpha uncensored.

    Args:
        hazards: Of the bins.
        bins: Bin of the event or of the last visit.
        censored: 1 where the event was not seen.
        alpha: How much less the censored count.
        eps: Least value whose logarithm is taken.

    Shape:
        hazards: (B, bins), bins, censored: (B,), result (B,).

    Source:
        Zadeh and Schmid, 2020, as in MambaMIL.
    """
    before, at, after = _terms(hazards, bins, eps)
    uncensored = -(1 - censored) * (before + at)
    return (1 - alpha) * (uncensored - censored * after) + alpha * uncensored


def discrete_cross_entropy(
    hazards: Tensor, bins: Tensor, censored: Tensor, alpha: float = 0.0, eps: float = EPS
) -> Tensor:
    """Cross-entropy of surviving the bin, one number a patient.

    (1 - alpha) (-c log S_Y - (1 - c) log(1 - S_Y)) - alpha (1 - c) (log S_{Y-1} + log h_Y).

    Shape:
        As `discrete_nll`.
    """
    before, at, after = _terms(hazards, bins, eps)
    survival = torch.cumprod(1 - hazards, dim=1).gather(1, bins[:, None])[:, 0]
    plain = -censored * after - (1 - censored) * torch.log((1 - survival).clamp(min=eps))
    return (1 - alpha) * plain - alpha * (1 - censored) * (before + at)


def _terms(hazards: Tensor, bins: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The logarithms of S_{Y-1}, h_Y and S_Y."""
    survival = torch.cumprod(1 - hazards, dim=1)
    padded = torch.cat((torch.ones_like(survival[:, :1]), survival), dim=1)
    place = bins[:, None]
    chosen = (padded.gather(1, place), hazards.gather(1, place), padded.gather(1, place + 1))
    before, at, after = (torch.log(each.clamp(min=eps))[:, 0] for each in chosen)
    return before, at, after


def cox(theta: Tensor, months: Tensor, censored: Tensor, ties: Ties = "breslow") -> Tensor:
    """Negative partial log-likelihood over a whole risk set, divided by the number of patients.

    Breslow: -mean (1 - c_i) (theta_i - log sum_{j: T_j >= T_i} exp theta_j); with Efron's rule the
    events of one time leave the risk set one after another. A set of one is 0.

    Args:
        theta: Logarithm of the relative risk.
        months: Time of the event or of the last visit.
        censored: 1 where the event was not seen.
        ties: What is done with events of the same time.

    Shape:
        theta, months, censored: (B,), result ().

    Source:
        Cox, 1972; Breslow, 1974; Efron, 1977.
    """
    at_risk = months[None, :] >= months[:, None]  # (i, j)
    # the largest of each risk set keeps its sum above zero
    highest = theta.detach().expand_as(at_risk).masked_fill(~at_risk, float("-inf")).amax(1)
    relative = torch.exp((theta - highest[:, None]).masked_fill(~at_risk, float("-inf")))
    total = relative.sum(1)
    event = 1 - censored
    if ties == "efron":
        same = (months[None, :] == months[:, None]).to(theta.dtype) * event[None, :]
        count = same.sum(1).clamp(min=1)
        place = (same * torch.tril(torch.ones_like(same), diagonal=-1)).sum(1)
        total = total - place / count * (same * relative).sum(1)
    return -((theta - highest - torch.log(total)) * event).mean()
