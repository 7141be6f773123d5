"""A reconstruction model as a MONAI bundle, proven by MONAI before it is put in place."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.bundle import proof
from medssm.bundle.answer_configs import ANSWERS, AnswerRecipe
from medssm.bundle.answer_readme import Page
from medssm.bundle.case_bundle import CaseBundle, verdict, write_case_bundle
from medssm.bundle.config_parts import at
from medssm.bundle.embed import called
from medssm.bundle.folder import bundle_name, checked
from medssm.bundle.metadata import About, document, named, needed, unknown_licence
from medssm.core.errors import UsageError
from medssm.core.files import read_json
from medssm.data.kspace_writers import read_reconstruction
from medssm.fields.reconstruction.demo import make_scans
from medssm.fields.reconstruction.importing import case_files
from medssm.fields.reconstruction.model_folder import Checkpoint, ReconModel, plain
from medssm.fields.reconstruction.packed import PackedReconstruction
from medssm.fields.reconstruction.predict import predict
from medssm.fields.reconstruction.predict_config import PredictConfig
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.networks import RECONSTRUCTION_NETWORKS

_HERE = "medssm.fields.reconstruction"
TRAVEL, PACKED = f"{_HERE}.travel", f"{_HERE}.packed"
_NEEDS = ("pytorch-ignite", "fire", "h5py")
# coils and size that metadata.json describes; others do as well
_COILS, _SHAPE = 4, ["32*n", "32*n"]
# of simulated scans; more columns where the model's masks have more in their centre
_ROWS, _COLUMNS = 64, 52
TOLERANCE = 1e-5
"""Largest difference of a pixel from `medssm predict`, as a part of the brightest."""


@dataclass(frozen=True)
class BundleConfig:
    """What a user may say about a bundle.

    Args:
        fold: Which fold's weights; None takes the first.
        checkpoint: Weights of the end, or those that validated best.
        prove: Whether MONAI reconstructs volumes, to be compared with `medssm predict`.
        input: Folder of k-space for the proof; None simulates two volumes.
    """

    fold: int | None = None
    checkpoint: Checkpoint = "final"
    prove: bool = True
    input: str | None = None


def write_bundle(
    model: ReconModel, output: Path, embed: bool, config: BundleConfig
) -> dict[str, Any]:
    """Write a bundle and prove it.

    Returns:
        The figures of the proof.

    Raises:
        MedssmError: The proof failed; nothing new is left at `output`.
        UsageError: The network wants more than samples, mask and centre.
    """
    if int(model.content.get("slices_at_once", 1)) > 1:
        raise UsageError(
            f"{model.folder}: its unit looks along slices, and the network of a bundle takes them "
            "one by one. Take --to pt2, or a model of batch_size=1."
        )
    arguments = {"network": plain(model.content["network"]),
                 "preparation": plain(asdict(model.preparation))}  # fmt: skip
    packed = PackedReconstruction(**arguments)
    packed.program.network.load_state_dict(model.network().state_dict())
    name = bundle_name(output)
    recipe, content = _recipe(model, arguments, embed), _metadata(model, name, embed)
    bundle = CaseBundle(
        packed, arguments["network"], RECONSTRUCTION_NETWORKS, (TRAVEL, PACKED, ANSWERS),
        recipe, content, _page(model, name, embed, recipe, content),
    )  # fmt: skip

    def prove(folder: Path) -> dict[str, Any]:
        return _prove(folder, model, embed, config)

    return write_case_bundle(bundle, output, prove if config.prove else None)


def _recipe(model: ReconModel, arguments: Mapping[str, Any], embed: bool) -> AnswerRecipe:
    def ours(name: str) -> str:
        return called(name, embed)

    return AnswerRecipe(
        network={"_target_": ours(f"{PACKED}.PackedReconstruction"), **arguments},
        list_cases=ours(f"{TRAVEL}.list_volumes"),
        travel=ours(ANSWERS),
        read=[at(ours(f"{TRAVEL}.ReadKspaced"), keys="image",
                 sampling=plain(asdict(model.sampling)), centred=model.preparation.centred)],
        inferer=at(ours(f"{TRAVEL}.SlicesInferer")),
        answer=[at(ours(f"{TRAVEL}.SaveReconstructiond"), keys="pred",
                   output_dir="@output_dir")],
    )  # fmt: skip


def _metadata(model: ReconModel, name: str, embed: bool) -> dict[str, Any]:
    about = About(
        name=name,
        task="Reconstruction of undersampled multi-coil MRI",
        description=(
            f"{model.content['network']['name']} trained by medssm on {model.content['dataset']}: "
            "k-space, its mask and its fully sampled centre to magnitude images."
        ),
        needs=needed(_NEEDS, embed),
        figures=_card(model),
        licence=unknown_licence(model.content["dataset"]),
        references=("Yiasemis et al., Recurrent Variational Network, CVPR 2022",),
    )
    common = {"modality": "MR", "spatial_shape": _SHAPE, "dtype": "float32",
              "is_patch_data": False}  # fmt: skip
    coils = [f"{part} of coil {n}" for n in range(_COILS) for part in ("real", "imaginary")]
    planes = [*coils, "mask", "fully sampled centre"]
    image = {**common, "type": "raw", "format": "kspace", "num_channels": len(planes),
             "value_range": [], "channel_def": named(planes)}  # fmt: skip
    pred = {**common, "type": "image", "format": "magnitude", "num_channels": 1,
            "value_range": [], "channel_def": named(["root of the sum of squares"])}  # fmt: skip
    return document(about, {"image": image}, {"pred": pred})


def _card(model: ReconModel) -> dict[str, Any]:
    file = model.weights.parent / "validation.json"
    return dict(read_json(file)) if file.is_file() else {}


def _page(
    model: ReconModel, name: str, embed: bool, recipe: AnswerRecipe, content: Mapping[str, Any]
) -> Page:
    sampling = model.sampling
    return Page(
        name=name,
        task="Reconstructs images from undersampled multi-coil k-space.",
        network=str(recipe.network["_target_"]),
        embed=embed,
        packages=content["required_packages_version"],
        takes=(
            "`INPUT` is a file or folder of k-space: fastMRI's or Calgary-Campinas' .h5, raw "
            "ISMRMRD, BART's .cfl, .npy. Any number of coils, slices and columns.",
            "A file that lacks samples keeps its mask. One that holds all is undersampled by its "
            f"name's own draw of {', '.join(sampling.masks)} at "
            f"{', '.join(f'{each:g}' for each in sampling.accelerations)}-fold.",
        ),
        gives=(
            "`OUTPUT/CASE.h5` with `reconstruction` (slices, h, w), in the units of the input: "
            "what `medssm predict … consistency=soft` gives; and a row for each in "
            "`OUTPUT/answers.csv`.",
        ),
        teaching=("`medssm train SCANS init=MODEL` goes on from the model folder that this bundle "
                  "was made of.",),
        card=_card(model),
        heading="Train",
    )  # fmt: skip


def _prove(folder: Path, model: ReconModel, embed: bool, config: BundleConfig) -> dict[str, Any]:
    """Let MONAI check the bundle and reconstruct, and hold its images against ours."""
    with checked(folder, embed) as (scratch, hidden):
        volumes = scratch / "volumes"
        if config.input is not None:
            volumes = Path(config.input).expanduser().absolute()
        else:
            make_scans(volumes, 2, seed=0, size=_size(model.sampling), slices=2)
        proof.run_inference(folder, volumes, scratch / "monai", hidden)
        predict(PredictConfig(
            model=model.folder, input=volumes, output=scratch / "ours", fold=config.fold,
            checkpoint=config.checkpoint, consistency="soft", withheld=0.0, device="cpu",
        ))  # fmt: skip
        differences = {
            name: _difference(*(scratch / who / f"{name}.h5" for who in ("monai", "ours")))
            for name in case_files(volumes)
        }
    return verdict(differences, TOLERANCE, embed, "volumes", "pixel")


def _size(sampling: SamplingConfig) -> tuple[int, int]:
    """Rows and columns that every mask of the model fits."""
    if sampling.file is not None:
        shape = np.load(sampling.file).shape
        return (_ROWS, int(shape[-1])) if len(shape) == 1 else (int(shape[0]), int(shape[1]))
    columns = max(sampling.center_fractions) * max(sampling.accelerations)
    return _ROWS, max(_COLUMNS, 2 * int(columns))


def _difference(theirs: Path, ours: Path) -> float:
    """The largest one, as a part of the brightest pixel; infinite where either is missing."""
    if not theirs.is_file() or not ours.is_file():
        return float("inf")
    found, expected = (read_reconstruction(each)["reconstruction"] for each in (theirs, ours))
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())
