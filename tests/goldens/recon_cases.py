"""Golden cases of reconstruction: Fourier pair, units, network, data stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medssm.fields.reconstruction.preparation import Preparation, prepare
from medssm.layers.conv_gru import ConvGRU, NormalisedUnit
from medssm.layers.map_unet import MapUNet, NormalisedMapUNet
from medssm.layers.state_initializer import StateInitializer
from medssm.mri.coils import estimate_maps, normalise_maps, rss
from medssm.mri.fourier import fft2, ifft2
from medssm.mri.undersampling import Mask, draw_mask
from medssm.networks.keymaps import load_official
from medssm.networks.keymaps import recurrent_varnet as keys
from medssm.networks.recurrent_varnet import RecurrentVarNet, RecurrentVarNetBlock
from tests.goldens.golden_init import golden_tensor
from tests.goldens.harness import Verdict
from tests.goldens.recon_tables import MASKS, TABLES, Case, count, input_of, network_hints

ATOL = 1e-5
Arrays = dict[str, Tensor | np.ndarray | float]


def recognises(case: Case) -> bool:
    """Whether a case is one of ours, by what it holds."""
    return _kind(case) is not None


def run(file: Path, case: Case) -> Verdict:
    """Hold ours against a case."""
    kind = _kind(case)
    if kind in TABLES:
        error, note = TABLES[kind](case)
        return Verdict(file.stem, error, "figures", not note, note)
    stored = np.load(file.with_suffix(".npz"))
    made, parameters = RUNS[kind](case)
    wanted = case.get("parameter_count")
    note = "" if wanted in (None, parameters) else f"{parameters} parameters, official {wanted}"
    error = 0.0
    for name in case["arrays"]:
        if name.endswith(("_shape", "_mean", "_std")):
            continue
        off = _off(made[name.removesuffix("_sample")], stored, name)
        error = max(error, off)
        if off > ATOL:
            note = f"{name} is off by {off:.2e}. {note}"
    return Verdict(file.stem, error, f"{ATOL:g} abs", not note, note)


def _kind(case: Case) -> str | None:
    if "class" in case:
        return case["class"] if case["class"] in RUNS else None
    if isinstance(case.get("direct"), Mapping) and "fastmri" in case:
        return "masks"
    if "values" in case and "gt" in case:
        return "metrics"
    if any(str(key).startswith(("rvn_", "ser_unet")) for key in case):
        return "sizes"
    arrays = case.get("arrays", {})
    if any(str(key).startswith("fft_") for key in arrays):
        return "fourier"
    if "estimated" in arrays or "estimated_sample" in arrays:
        return "maps"
    return "stage" if "scaling_factor" in arrays and "mask" in case else None


def _off(ours: Any, stored: Mapping[str, np.ndarray], name: str) -> float:
    value = np.asarray(ours.detach() if isinstance(ours, Tensor) else ours)
    if not name.endswith("_sample"):
        theirs = stored[name]
        if value.shape != theirs.shape:
            raise ValueError(f"{name} has shape {value.shape}, stored {theirs.shape}")
        return float(np.abs(value.astype(np.float64) - theirs).max(initial=0.0))
    stem = name.removesuffix("_sample")
    shape = tuple(stored[f"{stem}_shape"])
    if value.shape != shape:
        raise ValueError(f"{stem} has shape {value.shape}, stored {shape}")
    value = value.astype(np.float64)
    where = np.linspace(0, value.size - 1, len(stored[name])).astype(int)
    off = np.abs(value.ravel()[where] - stored[name]).max()
    rest = [abs(value.mean() - stored[f"{stem}_mean"]), abs(value.std() - stored[f"{stem}_std"])]
    return float(max(off, *rest))


def _weights(case: Case) -> dict[str, Tensor]:
    return {key: golden_tensor(key, torch.empty(shape)) for key, shape in case["state_dict"]}


def _sampling(entry: Case, width: int) -> Tensor:
    columns = torch.zeros(width, dtype=torch.bool)
    columns[entry["offset"] :: entry["every"]] = True
    start = (width - entry["acs"] + 1) // 2
    columns[start : start + entry["acs"]] = True
    return columns


def _kspaces(case: Case) -> dict[str, Tensor]:
    """The inputs of a network or block under our names."""
    entries = case["inputs"]
    masked = input_of(entries["masked_kspace"])
    batch, _, height, width, _ = masked.shape
    columns = _sampling(entries["sampling_mask"], width)
    mask = columns.view(1, 1, 1, -1, 1).expand(batch, 1, height, -1, 1)
    return {
        "masked": masked * mask,
        "mask": mask,
        "maps": normalise_maps(input_of(entries["sensitivity_map"])),
    }


def _filled(keymap: Any, weights: Mapping[str, Tensor], module: nn.Module) -> nn.Module:
    fitted, report = keymap.to_ours(weights, module.state_dict(), 2)
    report.raise_unless_complete()
    module.load_state_dict(fitted)
    return module.eval()


def _centred(case: Case) -> bool:
    return not str(case.get("fft", "centered")).startswith("uncentered")


def _unit(case: Case) -> tuple[Arrays, int]:
    weights = _weights(case)
    normalised = case["class"] == "NormConv2dGRU"
    arguments = keys.unit_arguments(weights, "convgru." if normalised else "")
    unit: nn.Module = ConvGRU(**arguments)
    if normalised:
        unit = NormalisedUnit(unit, case["arguments"].get("norm_groups", 2))
    unit = _filled(keys.UNIT_ALONE, weights, unit)
    state = case["inputs"].get("previous_state")
    with torch.no_grad():
        out, new = unit(input_of(case["inputs"]["cell_input"]), state and input_of(state))
    return {"output": out, "state": new}, count(unit)


def _initializer(case: Case) -> tuple[Arrays, int]:
    weights, arguments = _weights(case), case["arguments"]
    told = keys.initializer_arguments(weights)
    module = StateInitializer(
        arguments["out_channels"],
        arguments["depth"],
        dilations=arguments.get("dilations", (1, 1, 2, 4)),
        in_channels=arguments.get("in_channels", 2),
        **told,
    )
    module = _filled(keys.INITIALIZER_ALONE, weights, module)
    with torch.no_grad():
        return {"output": module(input_of(case["inputs"]["x"]))}, count(module)


def _block(case: Case) -> tuple[Arrays, int]:
    weights = _weights(case)
    normalised = bool(case["arguments"].get("normalized"))
    prefix = "regularizer.convgru." if normalised else "regularizer."
    unit: nn.Module = ConvGRU(**keys.unit_arguments(weights, prefix))
    block = RecurrentVarNetBlock(NormalisedUnit(unit) if normalised else unit, _centred(case))
    block = _filled(keys.BLOCK_ALONE, weights, block)
    state = case["inputs"].get("hidden_state")
    with torch.no_grad():
        current = input_of(case["inputs"]["current_kspace"])
        out, new = block(current, **_kspaces(case), state=state and input_of(state))
    return {"output": out, "state": new}, count(block)


def _network(case: Case) -> tuple[Arrays, int]:
    hints = {**network_hints(case["arguments"]), "centred": _centred(case)}
    network, _ = load_official("recurrent_varnet", _weights(case), **hints)
    image = case["inputs"].get("initial_image") or case["inputs"].get("input_image")
    with torch.no_grad():
        out = network(**_kspaces(case), image=image and input_of(image))
    return {"output": out, "image": rss(ifft2(out, hints["centred"]))}, count(network)


def _unet(case: Case) -> tuple[Arrays, int]:
    weights = _weights(case)
    normalised = case["class"] == "NormUnetModel2d"
    unet: nn.Module = MapUNet(**keys.unet_arguments(weights, "unet2d." if normalised else ""))
    if normalised:
        unet = NormalisedMapUNet(unet, case["arguments"].get("norm_groups", 2))
    unet = _filled(keys.UNET_ALONE, weights, unet)
    with torch.no_grad():
        return {"output": unet(input_of(case["inputs"]["x"]))}, count(unet)


def _maps(case: Case) -> tuple[Arrays, int]:
    kspace = input_of(case["inputs"]["kspace"])
    width, acs = kspace.shape[-2], case["acs_columns"]
    columns = torch.zeros(width, dtype=torch.bool)
    columns[(width - acs + 1) // 2 :][:acs] = True
    sigma = case.get("gaussian_sigma")
    found = estimate_maps(kspace, columns.view(1, 1, 1, -1, 1), _centred(case), sigma)
    net = RecurrentVarNet(
        num_steps=1,
        hidden_channels=1,
        num_layers=1,
        refinement=True,
        refinement_filters=case["unet"]["num_filters"],
        refinement_pools=case["unet"]["num_pool_layers"],
    )
    net.refinement = _filled(keys.UNET_ALONE, _weights(case), net.refinement)  # type: ignore[arg-type, assignment]
    with torch.no_grad():
        return {"estimated": found, "output": net.refined(found)}, count(net.refinement)  # type: ignore[arg-type]


def _fourier(case: Case) -> tuple[Arrays, int]:
    x, dims = input_of(case["input"]), tuple(case["dims"])
    made: Arrays = {}
    for name in case["arrays"]:
        stem = name.removesuffix("_sample")
        transform = ifft2 if stem.startswith("ifft") else fft2
        norm = "backward" if "unnormalised" in stem else "ortho"
        made[stem] = transform(x, "uncentered" not in stem, dims, norm)  # type: ignore[arg-type]
    made["output"] = fft2(x, True, dims)  # type: ignore[arg-type]
    return made, 0


def _stage(case: Case) -> tuple[Arrays, int]:
    entry, drawn = case["inputs"]["kspace"], case["mask"]
    kspace = input_of(entry)
    _, height, width, _ = kspace.shape
    rows, columns = torch.arange(height), torch.arange(width)
    away = ((rows - height // 2) / height)[:, None] ** 2
    away = (away + ((columns - width // 2) / width)[None, :] ** 2).sqrt()
    kspace = kspace * torch.exp(-8 * away)[..., None]
    kspace[..., -3:, :] = 0
    sigma = 0.7 if "sensitivity_maps_gaussian" not in case["overrides"] else None
    name = str(drawn["seed"]).rsplit(" ", 1)[-1]

    def draw(padding: Tensor) -> Mask:
        mask = draw_mask(
            MASKS[drawn["name"]],
            (height, width),
            drawn["accelerations"],
            drawn["center_fractions"],
            name,
            exact=False,
        )
        return Mask(mask.sampled & ~padding, mask.acs)

    settings = Preparation(centred=_centred(case), sigma=sigma, scaling="kspace")
    ready = prepare(kspace, draw, settings)
    return {
        "output": ready.target,
        "sampling_mask_columns": ready.mask[0, 0, :, 0],
        "acs_columns": ready.acs[0, 0, :, 0],
        "padding_columns": ready.padding[0],
        "scaling_factor": ready.scale,
        "sensitivity_map": ready.maps,
        "masked_kspace": ready.masked,
    }, 0


RUNS = {
    "Conv2dGRU": _unit,
    "NormConv2dGRU": _unit,
    "RecurrentInit": _initializer,
    "RecurrentVarNetBlock": _block,
    "RecurrentVarNet": _network,
    "UnetModel2d": _unet,
    "NormUnetModel2d": _unet,
    "fourier": _fourier,
    "maps": _maps,
    "stage": _stage,
}
