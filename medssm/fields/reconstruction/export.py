"""Export: a model as a program from k-space to images, as plain weights, or for DIRECT."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors.torch import save_file

from medssm.bundle.kspace_programs import (
    run_onnx,
    run_program,
    trace,
    write_onnx,
    write_program,
)
from medssm.core.errors import MedssmError, UsageError
from medssm.core.files import atomic_path, write_json, write_text
from medssm.core.signature import make
from medssm.fields.reconstruction.export_proof import difference, trials
from medssm.fields.reconstruction.model_folder import Checkpoint, ReconModel, open_model, plain
from medssm.fields.reconstruction.program import program_of
from medssm.networks.keymaps.direct_config import checkpoint_of, config_of, load_direct
from medssm.networks.recurrent_varnet import RecurrentVarNet
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
from medssm.runs.field import ExportRequest

ENDINGS = {"pt2": ".pt2", "onnx": ".onnx", "safetensors": ".safetensors", "direct": ""}
_DIRECT_NOTE = """# Written by medssm for DIRECT: add your training, validation or inference below.
# medssm divided k-space by the {percentile} quantile of {what}{same}.
"""


@dataclass(frozen=True)
class ExportConfig:
    """What a user may say about an export.

    Args:
        fold: Which fold's weights; None takes the first.
        checkpoint: Weights of the end, or those that validated best.
        maps: "centre" lets the program measure sensitivities in the fully sampled centre;
            "given" takes them as an input.
        coils: 1 makes a program for single coils; None one for two coils or more.
        size: Rows and columns of the traced slice; where a unit is made for one size, that of the
            program.
        tolerance: Largest difference from predict's answer, as a part of the largest value.
    """

    fold: int | None = None
    checkpoint: Checkpoint = "final"
    maps: Literal["centre", "given"] = "centre"
    coils: Literal[1] | None = None
    size: tuple[int, int] | None = None
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 32:
            raise UsageError(f"size={list(self.size)}: expected 32 or more.")
        if not self.tolerance > 0:
            raise UsageError(f"tolerance={self.tolerance}: expected above 0.")


def export(request: ExportRequest) -> Answer:
    """Write a model in another program's form, and prove that it answers as ours.

    Raises:
        UsageError: Another kind, a wrong key, or a file that is there already.
        MedssmError: The proof failed; nothing is left at the output.
    """
    if request.kind == "bundle":
        return _bundle(request)
    if request.kind not in ENDINGS or request.embed:
        raise UsageError(
            f"--to {request.kind}: models of reconstruction are exported to bundle, "
            f"{', '.join(ENDINGS)}; --embed belongs to bundles."
        )
    config: ExportConfig = make(ExportConfig, parse_values(request.overrides), "export")
    output = _free(request)
    model = open_model(request.model, config.fold, config.checkpoint)
    network = model.network()
    assert isinstance(network, RecurrentVarNet)
    if request.kind == "direct":
        return _direct(model, network, output)
    facts: dict[str, Any] = {"kind": request.kind, "network": plain(model.content["network"])}
    if request.kind == "safetensors":
        with atomic_path(output) as partial:
            save_file({k: v.contiguous() for k, v in network.state_dict().items()}, partial,
                      {"network": str(facts["network"]), "format": "pt"})  # fmt: skip
    else:
        facts |= _program(config, model, network, (request.kind, output))
    facts["preparation"] = plain(model.preparation)
    beside = output.with_name(f"{output.name}.json")
    write_json(beside, facts)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    return Answer(facts, lines, [output, beside])


def _bundle(request: ExportRequest) -> Answer:
    """A MONAI bundle, proven beside predict."""
    from medssm.bundle.case_bundle import bundle_answer
    from medssm.fields.reconstruction.bundle import BundleConfig, write_bundle

    def write(config: BundleConfig) -> dict[str, Any]:
        model = open_model(request.model, config.fold, config.checkpoint)
        return write_bundle(model, request.output, request.embed, config)

    return bundle_answer(request, BundleConfig, write)


def _free(request: ExportRequest) -> Path:
    ending = ENDINGS[request.kind]
    if request.output.suffix not in ("", ending):
        raise UsageError(f"{request.output}: --to {request.kind} writes {ending or 'a folder'}.")
    output = request.output.with_suffix(ending)
    if output.exists() and not request.force:
        raise UsageError(f"{output}: is there already; name another, or take --force.")
    return output


def _program(
    config: ExportConfig, model: ReconModel, network: RecurrentVarNet, where: tuple[str, Path]
) -> dict[str, Any]:
    kind, output = where
    given = config.maps == "given"
    module = program_of(network, model.preparation, given_maps=given, real=kind == "onnx")
    tried = trials(model, config.size, single_coil=config.coils == 1, given_maps=given)
    made = trace(module, tried[0], tried[1])
    write, run = (write_onnx, run_onnx) if kind == "onnx" else (write_program, run_program)
    write(made, output)
    tried = tried if made.any_size else tried[:1]
    off = difference(lambda inputs: run(output, inputs), model, network, tried)
    if not off <= config.tolerance:
        output.unlink()
        raise MedssmError(
            f"{output}: the program's answers differ from predict's by {off:.1e} of the "
            f"largest value; expected at most {config.tolerance:g}. It is not kept."
        )
    third = "maps" if given else "acs"
    coils = "1" if config.coils == 1 else "coils (2 or more)"
    if not made.any_size:
        coils = str(tried[0][0].shape[1])
    sizes: Any = "any" if made.any_size else list(tried[0][0].shape[2:4])
    return {
        "takes": {
            "kspace": f"(N, {coils}, H, W, 2) float32, last axis (real, imaginary)",
            "mask": "(N, 1, H, W, 1) boolean: where it was sampled",
            third: "as kspace: sensitivities of unit sum of squares" if given
            else "(N, 1, H, W, 1) boolean: the fully sampled centre",
        },
        "gives": ["magnitude image (N, H, W)", "k-space, as kspace; both in the input's units"],
        "same_as": "medssm predict … consistency=soft",
        "size": sizes,
        "largest_difference": off,
    }  # fmt: skip


def _direct(model: ReconModel, network: RecurrentVarNet, output: Path) -> Answer:
    """A folder with a checkpoint and a config.yaml as DIRECT writes them, read back and compared.

    Raises:
        UsageError: The network is no published one, so DIRECT cannot hold it.
    """
    config, content = config_of(network), checkpoint_of(network)
    checkpoint, file = output / "model_0.pt", output / "config.yaml"
    with atomic_path(checkpoint) as partial:
        torch.save(content, partial)
    settings = model.preparation
    own = settings.scaling == "kspace"
    write_text(file, _DIRECT_NOTE.format(
        percentile=settings.percentile,
        what="masked k-space" if own else "the zero-filled image",
        same=", as DIRECT does" if own else
        "; DIRECT divides by that of masked k-space,\n# so its images differ from medssm's",
    ) + yaml.safe_dump(config, sort_keys=False))  # fmt: skip
    write_text(output / "last_model.txt", "0")
    again, report = load_direct(checkpoint, file)
    worst = max(
        float((a - b).abs().max())
        for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    if worst or again.centred != network.centred:
        raise MedssmError(f"{output}: the checkpoint read back is not the network.")
    lines = [
        f"{len(content['model'])} weights of the network, "
        f"{len(content.get('sensitivity_model', {}))} of the sensitivity U-Net; read back: "
        f"{report.describe()}",
    ]
    if not own:
        lines.append(
            "DIRECT divides by the quantile of masked k-space, this model learned with that of the "
            "zero-filled image: train with planner.normalisation=kspace for the same images there."
        )
    facts = {"kind": "direct", "weights": len(content["model"]), "same_scale": own}
    return Answer(facts, lines, [checkpoint, file])
