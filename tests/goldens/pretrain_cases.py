"""Golden cases of pre-training: mask, TOKI, dense and masked network, SegMamba's mixer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medssm.layers.masking import random_visible, visible_from_ids
from medssm.layers.mixers.segmamba import TriOrientedMamba
from medssm.layers.toki import interpolate_tokens
from medssm.losses.masked_cells import masked_cell_loss, restored
from medssm.networks.keymaps import load_official
from tests.goldens.golden_init import golden_input, golden_tensor
from tests.goldens.harness import Verdict

Case = Mapping[str, Any]
Made = dict[str, Tensor | float]
WHOLE, PART = (1e-4, 1e-3), (1e-5, 1e-5)
UNBUILT = ("densified4",)
"""What the published network computes and never uses."""


def recognises(case: Case) -> bool:
    """Whether a case is one of ours, by what it holds."""
    return _kind(case) is not None


def run(file: Path, case: Case) -> Verdict:
    """Hold ours against a case."""
    with torch.random.fork_rng():
        made, (atol, rtol) = RUNS[_kind(case)](case)
    stored = np.load(file.with_suffix(".npz"))
    error, notes = 0.0, []
    for name in (each for each in stored if not each.endswith(("_mean", "_std"))):
        what = name.removesuffix("_sample").removesuffix("_shape")
        if what in UNBUILT:
            continue
        off, close = _compare(made[what], stored[name], name, atol, rtol)
        error = max(error, off)
        if not close:
            notes.append(f"{name} is off by {off:.2e}")
    return Verdict(
        file.stem, error, f"{atol:g} + {rtol:g} rel", not notes, "; ".join(notes)
    )  # fmt: skip


def _compare(
    ours: Tensor | float, theirs: np.ndarray, name: str, atol: float, rtol: float
) -> tuple[float, bool]:
    values = np.asarray(torch.as_tensor(ours).detach().double())
    if name.endswith("_shape"):
        return 0.0, tuple(theirs) == values.shape
    if name.endswith("_sample"):
        values = values.ravel()[np.linspace(0, values.size - 1, len(theirs)).astype(int)]
    if values.shape != theirs.shape:
        return float("inf"), False
    off = np.abs(values - theirs)
    return float(off.max()), bool((off <= atol + rtol * np.abs(theirs)).all())


def _kind(case: Case) -> str | None:
    constructor = case.get("constructor", {})
    if "bimamba_type" in constructor and "nslices" in constructor:
        return "segmamba"
    if "n_classes" in constructor and "channels" in constructor and "depth" in constructor:
        return "dense"
    if "encoder" in constructor and "mask_ratio" in constructor:
        return "masked"
    if "visible_ids" in case:
        return "mask" if "len_keep" in case else "toki"
    return None


def _mask(case: Case) -> tuple[Made, tuple[float, float]]:
    generator = torch.Generator().manual_seed(case["seed"])
    grid = tuple(case["output_shape"][2:])
    visible = random_visible(case["batch"], grid, case["mask_ratio"], generator)
    assert visible.ids.tolist() == case["visible_ids"]
    return {"output": visible.cells[:, None]}, (0.0, 0.0)


def _toki(case: Case) -> tuple[Made, tuple[float, float]]:
    x = golden_input(*case["inputs"]["x"])
    width = x.shape[1]
    matrix = golden_input(*case["inputs"]["A"][:2])[0] * 0.9 / width**0.5
    visible = visible_from_ids(torch.tensor(case["visible_ids"]), x.shape[2:])
    z = interpolate_tokens(x.movedim(1, -1).flatten(1, -2), visible.flat, matrix)
    intended = z.transpose(1, 2).reshape(x.shape)
    return {"output": z.reshape(x.shape), "output_channels_first": intended}, PART


def _dense(case: Case) -> tuple[Made, tuple[float, float]]:
    weights = {key: golden_tensor(key, torch.empty(shape)) for key, shape in case["state_dict"]}
    network, report = load_official("hybrid_mamba", weights)
    _check_parameters(case, network, weights, report.ignored)
    x = golden_input(*case["input"])
    with torch.no_grad():
        maps = network.encoder(x.movedim(1, -1))
        return {"output": network(x), **_maps("enc", maps)}, WHOLE


def _masked(case: Case) -> tuple[Made, tuple[float, float]]:
    weights = _masked_weights(case)
    published = "as published" in case["what"]
    defects = "official" if published else "repaired"
    network, report = load_official("mamba_mim", weights, defects=defects)
    _check_parameters(case, network, weights, report.ignored)
    x = golden_input(*case["input"])
    grid = tuple(size // cell for size, cell in zip(x.shape[2:], network.divisors, strict=True))
    visible = visible_from_ids(torch.tensor(case["visible_ids"]), grid)
    raw = network(x, visible)
    cost = masked_cell_loss(raw, x, visible.cells)
    cost.loss.backward()
    _check_gradients(case, network)
    with torch.no_grad():
        maps = network.masked_maps(x, visible, finest=True)
        filled = [*reversed(network.filled(maps, visible))]
        dense = zip(network.reconstruction.densify, filled, strict=False)
        made = {f"densified{i}": conv(each).movedim(-1, 1) for i, (conv, each) in enumerate(dense)}
    made |= {"decoder_raw": raw, "output": restored(raw, x, visible.cells), "loss": cost.loss}
    return {**made, **_maps("enc", maps)}, WHOLE


def _masked_weights(case: Case) -> dict[str, Tensor]:
    """Filled by name, then as the case says: A halved, decoder weights of five axes times 1.7."""
    made = {}
    for key, shape in case["state_dict"]:
        value = golden_tensor(key, torch.empty(shape))
        if key == "A_interpolation":
            value = value * 0.5
        elif key.startswith("dense_decoder.") and len(shape) == 5:
            value = value * 1.7
        made[key] = torch.zeros((), dtype=torch.int64) if "num_batches" in key else value
    return made


def _maps(name: str, maps: list[Tensor]) -> Made:
    return {f"{name}{i}": each.movedim(-1, 1) for i, each in enumerate(maps, start=1)}


def _check_parameters(
    case: Case, network: nn.Module, weights: Mapping[str, Tensor], ignored: Mapping[str, str]
) -> None:
    """Every official number is one of ours, or named as left out."""
    left = [key for key in ignored if "running_" not in key and "num_batches" not in key]
    ours = sum(each.numel() for each in network.parameters())
    tables = sum(each.numel() for name, each in network.named_buffers() if "positions" in name)
    total = ours + tables + sum(weights[key].numel() for key in left)
    assert total == case["parameter_count"], f"{total} parameters, {case['parameter_count']}"


def _check_gradients(case: Case, network: nn.Module) -> None:
    """Every gradient norm that the case tells, under its official name."""
    from medssm.networks.keymaps.mamba_mim import KEYMAP

    ours = dict(network.named_parameters())
    for key, norm in case.get("grad_norms", {}).items():
        if not norm:
            continue
        gradient = ours[KEYMAP.name_of(key)].grad
        found = float(gradient.norm())
        assert abs(found - norm) <= 1e-4 + 1e-2 * norm, f"gradient of {key}: {found}, {norm}"


def _segmamba(case: Case) -> tuple[Made, tuple[float, float]]:
    said = case["constructor"]
    mixer = TriOrientedMamba(
        said["d_model"],
        state=said.get("d_state", 16),
        conv_width=said.get("d_conv", 4),
        expand=said.get("expand", 2),
        slices=said["nslices"],
    )
    mixer.load_state_dict(
        {key: golden_tensor(key, torch.empty(shape)) for key, shape in case["state_dict"]}
    )
    with torch.no_grad():
        return {"output": mixer(golden_input(*case["input"]))}, WHOLE


RUNS: Mapping[Any, Any] = {
    "mask": _mask,
    "toki": _toki,
    "dense": _dense,
    "masked": _masked,
    "segmamba": _segmamba,
}
