"""Golden cases of pathology: networks over bags, losses of survival, the scan of LBMamba."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medssm.losses.survival import cox, discrete_cross_entropy, discrete_nll, survival_of
from medssm.metrics.survival import concordance
from medssm.networks.keymaps import load_official
from medssm.ops.scan import selective_scan
from tests.goldens.golden_init import golden_input, golden_tensor
from tests.goldens.harness import Verdict

NETWORKS = {
    "MambaMIL": "mamba_mil",
    "DAttention": "attention_mil",
    "GatedAttention": "attention_mil",
    "MeanMIL": "instance_mil",
    "MaxMIL": "instance_mil",
    "CLAM_SB": "clam",
    "CLAM_MB": "clam",
    "S4Model": "s4_mil",
    "TransMIL": "trans_mil",
}
# what the class says and neither arguments nor tensors do
SILENT = {"MeanMIL": {"pooling": "mean"}, "MaxMIL": {"pooling": "max"}}
LOSSES, SCAN = "survival losses", "LBMamba local bidirectional scan"
ABSOLUTE, RELATIVE = 1e-5, 1e-4
"""Tolerance of PATHOLOGY section 9: absolute of logits and hazards, relative of the attention."""


class Pair(NamedTuple):
    """Our array and the stored one, and how far apart they may be."""

    ours: Tensor
    theirs: np.ndarray
    relative: float = 0.0
    absolute: float = ABSOLUTE


def recognises(case: Mapping[str, Any]) -> bool:
    """Whether a case is one of ours."""
    return case.get("model") in {*NETWORKS, LOSSES, SCAN}


def run(file: Path, case: Mapping[str, Any]) -> Verdict:
    """Hold ours against a case: every array that is stored."""
    stored = np.load(file.with_suffix(".npz"))
    note = ""
    if case["model"] == LOSSES:
        pairs = _losses(case, stored)
    elif case["model"] == SCAN:
        pairs = {"output": Pair(_scan(case), stored["output"])}
    else:
        pairs, note = _network(case, stored)
    worst, passed = 0.0, not note
    for name, (ours, theirs, relative, absolute) in pairs.items():
        mine, other = ours.detach().double().numpy().ravel(), np.asarray(theirs).ravel()
        if mine.shape != other.shape:
            return Verdict(file.stem, float("nan"), "", False, f"{name}: {mine.shape}")
        off = np.abs(mine - other)
        worst = max(worst, float(off.max()))
        if not np.all(off <= absolute + relative * np.abs(other)):
            passed, note = False, f"{note} {name} off by {off.max():.2e}".strip()
    return Verdict(file.stem, worst, f"{ABSOLUTE:g}, attention {RELATIVE:g} rel", passed, note)


def _network(case: Mapping[str, Any], stored: Any) -> tuple[dict[str, Pair], str]:
    model, arguments = case["model"], case["arguments"]
    weights = {key: golden_tensor(key, torch.empty(shape)) for key, shape in case["state_dict"]}
    with torch.random.fork_rng():
        hints = {**arguments, **SILENT.get(model, {})}
        network, _ = load_official(NETWORKS[model], weights, **hints)
    bag = golden_input(case["input_name"], case["input_shape"])
    bag = bag if bag.dim() == 3 else bag[None]
    tokens: list[Tensor] = []
    if hasattr(network, "norm"):
        network.norm.register_forward_hook(lambda _m, _i, output: tokens.append(output))
    with torch.no_grad():
        output = network(bag)
    survival = survival_of(output.logits)
    said = survival.hazards if arguments.get("survival") else output.logits
    found: dict[str, Tensor | None] = {
        "output": said,
        "logits": output.logits,
        "prob": output.logits.softmax(-1),
        "survival": survival.survival,
        "risk": survival.risk,
        "embedding": output.embedding,
        "A_raw": output.scores,
        "attention": output.attention,
    }
    pairs = {
        name: Pair(ours, stored[name], *((RELATIVE, 0.0) if name == "attention" else ()))
        for name, ours in found.items()
        if name in stored and ours is not None
    }
    if "tokens_sample" in stored:
        flat = tokens[-1].ravel()
        where = np.linspace(0, len(flat) - 1, len(stored["tokens_sample"])).astype(int)
        pairs["tokens_sample"] = Pair(flat[torch.from_numpy(where)], stored["tokens_sample"])
    if "instance_loss_label1" in stored:
        with torch.no_grad():
            loss = network.with_instance_loss(bag, None, torch.tensor([1]))[1]
        pairs["instance_loss_label1"] = Pair(loss, stored["instance_loss_label1"])
    counted = sum(each.numel() for each in network.parameters())
    note = (
        "" if counted == case["parameters"] else f"{counted} parameters, not {case['parameters']}"
    )
    return pairs, note


def _losses(case: Mapping[str, Any], stored: Any) -> dict[str, Pair]:
    name, shape = "survival_losses", case["input_shape"]
    hazards = survival_of(golden_input(f"{name}:hazards", shape))
    months = torch.exp(golden_input(f"{name}:time", shape[:1]))
    bins = torch.from_numpy(stored["Y"]).long().ravel()
    censored = torch.from_numpy(stored["c"]).float().ravel()
    pairs = {
        "hazards": Pair(hazards.hazards, stored["hazards"]),
        "S": Pair(hazards.survival, stored["S"]),
        "risk": Pair(hazards.risk, stored["risk"]),
    }
    for key in stored:
        kind, _, alpha = key.partition("_alpha")
        if kind in ("nll", "ce", "nll_each"):
            loss = discrete_cross_entropy if kind == "ce" else discrete_nll
            each = loss(hazards.hazards, bins, censored, float(alpha), case["arguments"]["eps"])
            pairs[key] = Pair(each if kind == "nll_each" else each.mean(), stored[key])
    theta = torch.from_numpy(stored["cox_theta"]).float().ravel()
    pairs["cox"] = Pair(cox(theta, months, censored), stored["cox"])
    found = concordance(months.numpy(), hazards.risk.numpy(), 1 - censored.numpy())
    pairs["cindex"] = Pair(torch.tensor(found), stored["cindex"])
    return pairs


def _scan(case: Mapping[str, Any]) -> Tensor:
    """The scan of the case's note: delta bias less 2, A = -exp(0.5 golden A)."""
    start = case["input_name"].partition(":")[0]
    x = {
        name: golden_input(f"{start}:{name}", shape) for name, shape in case["input_shape"].items()
    }
    tokens = {name: x[name].t()[None, None] for name in ("u", "delta", "B", "C")}
    y = selective_scan(
        tokens["u"],
        tokens["delta"],
        -torch.exp(0.5 * x["A"])[None],
        tokens["B"],
        tokens["C"],
        x["D"][None],
        delta_bias=(x["bias"] - 2)[None],
        z=x["z"].t()[None],
        delta_softplus=case["arguments"]["delta_softplus"],
        local_window=case["arguments"]["window"],
    )
    return y[0].t()
