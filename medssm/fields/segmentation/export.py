"""Hand a segmentation model over: a bundle, a program, a graph or plain weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import nn

from medssm.bundle.folder import check_free
from medssm.core.errors import UsageError
from medssm.core.files import atomic_path
from medssm.fields.segmentation.bundle import write_bundle
from medssm.fields.segmentation.export_programs import ENDINGS, Programs, ProgramWish
from medssm.fields.segmentation.trained import TrainedModel, open_model

Kind = Literal["bundle", "pt2", "onnx", "torchscript", "safetensors", "nnunet"]


@dataclass(frozen=True)
class ExportConfig:
    """What to hand over.

    Args:
        model: The model folder.
        output: The file, or the bundle's folder.
        kind: What to write.
        embed: Whether the network's code goes into the bundle.
        overwrite: Whether a bundle or file that is there makes way, once the new one is proven.
        fold: Which fold; None takes all where the export can hold them, else the only one.
        checkpoint: The weights of the end of training, or those that validated best.
        size: Spatial size to trace a program with; None takes the patch.
        tolerance: Largest difference of logits that an exported program may show.
        prove: Whether it predicts held-back cases, to be compared with our own labels.
        cases: How many held-back cases the proof of a bundle takes; 0 takes all.
        images: Folder of images for the proof; None takes the model's held-back cases.
        programs: Whether a bundle also holds its network as .pt2 and ONNX, each proven.
        plans_name: What nnU-Net shall call the plans; None takes the network's name.
    """

    model: Path
    output: Path
    kind: Kind = "bundle"
    embed: bool = False
    overwrite: bool = False
    fold: int | str | None = None
    checkpoint: Literal["final", "best"] = "final"
    size: tuple[int, ...] | None = None
    tolerance: float = 1e-3
    prove: bool = True
    cases: int = 1
    images: Path | None = None
    programs: bool = False
    plans_name: str | None = None


@dataclass(frozen=True)
class Exported:
    """What was written, and what its proof showed."""

    written: Path
    facts: dict[str, Any]
    lines: tuple[str, ...]


def export(config: ExportConfig) -> Exported:
    """Write a model in another program's form, and prove that it answers as ours.

    Raises:
        UsageError: Several folds and none chosen where only one can be held, a size that does
            not fit, an output that is there already.
        MedssmError: The proof failed; nothing is left at the output.
    """
    if config.kind == "nnunet":
        return _nnunet(config)
    if config.plans_name is not None:
        raise UsageError("plans_name belongs to --to nnunet.")
    model = _opened(config)
    if config.kind == "bundle":
        check_free(config.output, config.overwrite)
        facts, lines = write_bundle(
            model, config.output, embed=config.embed, prove=config.prove,
            cases=config.cases, images=config.images,
            programs=Programs(model, _wish(config)) if config.programs else None,
        )  # fmt: skip
        return Exported(config.output, facts, tuple(lines))
    if config.embed or config.programs:
        raise UsageError("--embed and programs=true belong to --to bundle.")
    output = _with_ending(config)
    _check_free(config, output)
    if config.kind == "safetensors":
        return _weights(model, model.network(list(model.weights)), output)
    return _program(config, model, output)


def _nnunet(config: ExportConfig) -> Exported:
    """A folder of nnU-Net's results, with every fold that was asked for."""
    from medssm.fields.segmentation.export_nnunet import write_nnunet

    if config.embed:
        raise UsageError("--embed belongs to --to bundle.")
    folds = None if config.fold is None else [config.fold]
    written, facts, lines = write_nnunet(
        open_model(config.model, folds, config.checkpoint), config.output,
        plans_name=config.plans_name, overwrite=config.overwrite, prove=config.prove,
        cases=config.cases, images=config.images,
    )  # fmt: skip
    return Exported(written, facts, tuple(lines))


def _opened(config: ExportConfig) -> TrainedModel:
    model = open_model(config.model, None if config.fold is None else [config.fold],
                       config.checkpoint)  # fmt: skip
    if len(model.weights) > 1 and config.kind not in ENDINGS:
        names = ", ".join(model.weights)
        raise UsageError(
            f"{config.model}: has the folds {names}; this export holds one network. Take fold=N, "
            "or --to pt2 or --to onnx, which hold all."
        )
    return model


def _check_free(config: ExportConfig, output: Path) -> None:
    """Refuse to write over a file unasked, and over a folder at all."""
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; it is not removed. Name another.")
    if output.exists() and not config.overwrite:
        raise UsageError(f"{output}: is there already; name another, or take --force.")


def _with_ending(config: ExportConfig) -> Path:
    ending = {**ENDINGS, "safetensors": ".safetensors"}[config.kind]
    if config.output.suffix not in ("", ending):
        raise UsageError(f"{config.output}: --to {config.kind} writes {ending}.")
    return config.output.with_suffix(ending)


def _weights(model: TrainedModel, network: nn.Module, output: Path) -> Exported:
    """Plain weights, the facts of the model in the header."""
    facts = {"network": str(dict(model.content["network"])), "format": "pt"}
    with atomic_path(output) as partial:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, partial, facts)
    count = sum(each.numel() for each in network.state_dict().values())
    return Exported(output, {"numbers": count}, (f"{count:,} numbers",))


def _program(config: ExportConfig, model: TrainedModel, output: Path) -> Exported:
    programs = Programs(model, _wish(config))
    facts = programs.write(config.kind, output)
    programs.describe(output, facts)
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    if config.kind == "torchscript":
        lines.append("TorchScript is deprecated by PyTorch; take --to pt2 where you can.")
    return Exported(output, facts, tuple(lines))


def _wish(config: ExportConfig) -> ProgramWish:
    return ProgramWish(config.size, config.tolerance, config.prove, config.images)
