"""MambaMIL and its LBMamba variants against their equations, written once more in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.networks.keymaps import to_official
from medssm.networks.mamba_mil import MambaMIL
from medssm.ops.scan import selective_scan

STATE = 4


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, window: int) -> Tensor:
    """f_t = a_t f_{t-1} + b_t; r_t = a_t g_{t+1}, g = r + b within windows; y = C (f + r)."""
    a = torch.exp(delta[..., None] * A)
    b = (delta * u)[..., None] * B[:, None]
    f, forward = torch.zeros_like(A), []
    for t in range(len(u)):
        f = a[t] * f + b[t]
        forward.append(f)
    later = [torch.zeros_like(A)] * len(u)
    if window:
        g = torch.zeros_like(A)
        for t in reversed(range(len(u))):
            if (t + 1) % window == 0:
                g = torch.zeros_like(A)
            later[t] = a[t] * g
            g = later[t] + b[t]
    return torch.stack([(f + r) @ c for f, r, c in zip(forward, later, C, strict=True)])


def branch(state: dict[str, Tensor], place: str, suffix: str, xz: Tensor, window: int) -> Tensor:
    names = ("conv1d{}.weight", "conv1d{}.bias", "x_proj{}.weight", "dt_proj{}.weight",
             "dt_proj{}.bias", "D{}")  # fmt: skip
    taps, shift, project, step, bias, D = (
        state[place + name.format(suffix)].double() for name in names
    )
    A = -torch.exp(state[place + ("A_b_log" if suffix else "A_log")].double())
    value, gate = xz.chunk(2, -1)
    padded = F.pad(value.t()[None], (taps.shape[-1] - 1, 0))
    u = F.silu(F.conv1d(padded, taps, shift, groups=len(taps)))[0].t()
    p = u @ project.t()
    rank = p.shape[1] - 2 * A.shape[1]
    low, B, C = p.split((rank, A.shape[1], A.shape[1]), dim=1)
    delta = F.softplus(low @ step.t() + bias)
    return (scan(u, delta, A, B, C, window) + D * u) * F.silu(gate)


def strided(length: int, rate: int) -> list[int]:
    rows = -(-length // rate)
    return [row * rate + column for column in range(rate) for row in range(rows)]


def mixed(state: dict[str, Tensor], layer: int, mixer: dict, tokens: Tensor) -> Tensor:
    place, window = f"layers.{layer}.1.", mixer.get("window", 0)
    xz = tokens @ state[place + "in_proj.weight"].double().t()
    if mixer["name"] == "lbmamba" and layer % 2:
        y = branch(state, place, "", xz.flip(0), window).flip(0)
    else:
        y = branch(state, place, "", xz, window)
    if mixer["name"] == "bidirectional":
        y = y + branch(state, place, "_b", xz.flip(0), 0).flip(0)
    if mixer["name"] == "srmamba":
        order = strided(len(xz), mixer["rate"])
        more = branch(state, place, "_b", F.pad(xz, (0, 0, 0, len(order) - len(xz)))[order], window)
        back = torch.empty_like(more)
        back[order] = more
        y = y + back[: len(xz)]
    return y @ state[place + "out_proj.weight"].double().t()


def logits(state: dict[str, Tensor], bag: Tensor, mixer: dict, depth: int) -> Tensor:
    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].double().t() + state[f"{name}.bias"].double()

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias = (state[f"{name}.{each}"].double() for each in ("weight", "bias"))
        return F.layer_norm(x, x.shape[-1:], weight, bias)

    h = F.gelu(linear(bag.double(), "_fc1.0"))
    for layer in range(depth):
        h = h + mixed(state, layer, mixer, norm(h, f"layers.{layer}.0"))
    h = norm(h, "norm")
    share = linear(torch.tanh(linear(h, "attention.0")), "attention.2").softmax(0)
    return linear((share * h).sum(0), "classifier")


MIXERS = {
    "mamba": {"name": "mamba"},
    "bimamba": {"name": "bidirectional"},
    "rate 1": {"name": "srmamba", "rate": 1},
    "rate 5": {"name": "srmamba", "rate": 5},
    "rate 64": {"name": "srmamba", "rate": 64},
    "lbmamba": {"name": "lbmamba", "window": 4},
    "sr_lbmamba": {"name": "srmamba", "rate": 5, "window": 8},
}


@pytest.mark.parametrize("length", [1, 3, 37, 130])
@pytest.mark.parametrize("title", MIXERS)
def test_the_network_is_its_equations(title: str, length: int) -> None:
    torch.manual_seed(0)
    mixer = MIXERS[title]
    network = MambaMIL(
        6, 3, width=16, depth=2, attention_width=8, mixer={**mixer, "state": STATE}
    ).eval()
    with torch.no_grad():
        for each in network.parameters():
            each.add_(0.1 * torch.randn_like(each))
        bag = torch.randn(length, 6)
        state = to_official("mamba_mil", network)
        wanted = logits(state, bag, mixer, depth=2)
        found = network(bag[None]).logits[0]
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [4, 8, 16])
@pytest.mark.parametrize("length", [1, 37, 200])
def test_the_local_scan_and_its_gradients_are_the_definition(length: int, window: int) -> None:
    torch.manual_seed(length)
    shapes = {"u": (length, 3), "delta": (length, 3), "B": (length, 5), "C": (length, 5)}
    given = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    given["A"] = -torch.rand(3, 5, dtype=torch.float64) - 0.1
    leaves = [each.requires_grad_() for each in given.values()]
    u, delta, B, C, A = leaves
    found = selective_scan(
        u[None], delta[None, None], A[None], B[None, None], C[None, None], local_window=window
    )[0]
    wanted = scan(u, F.softplus(delta), A, B, C, window)
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)
    weight = torch.randn_like(wanted)
    ours = torch.autograd.grad(found, leaves, weight)
    theirs = torch.autograd.grad(wanted, leaves, weight)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-7)
