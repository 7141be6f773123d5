"""A pre-trained encoder as a MONAI bundle, proven by MONAI before it is put in its place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import torch

from medssm.bundle import proof
from medssm.bundle.case_bundle import CaseBundle, largest, verdict, write_case_bundle
from medssm.bundle.folder import bundle_name, checked
from medssm.core.errors import BadDataError, MedssmError
from medssm.core.files import read_json
from medssm.fields.pretraining.bundle_parts import (
    bundle_modules,
    encoder_of,
    metadata_of,
    page_of,
    recipe_of,
)
from medssm.fields.pretraining.inputs import InputVolume, image_files, stored_volumes
from medssm.fields.pretraining.model_folder import PretrainedModel
from medssm.fields.pretraining.predict import PREDICTIONS, predict_pretraining
from medssm.fields.pretraining.travel import EncoderMap
from medssm.networks import NETWORKS
from medssm.runs.field import PredictRequest

TOLERANCE = 1e-5
"""Largest difference of a number of an embedding between MONAI and `medssm predict`."""


@dataclass(frozen=True)
class BundleConfig:
    """What a user may say about a bundle.

    Args:
        prove: Whether MONAI embeds volumes, to be compared with `medssm predict`.
        cases: How many; 0 takes all.
        input: Folder of volumes for the proof; None takes the archive's held-back ones.
    """

    prove: bool = True
    cases: int = 1
    input: str | None = None


def write_bundle(
    model: PretrainedModel, output: Path, embed: bool, config: BundleConfig, home: Path
) -> dict[str, Any]:
    """Write a bundle and prove it.

    Args:
        model: The pre-trained model.
        output: The bundle's folder or .zip; one that is there makes way.
        embed: Whether the code of encoder and reading goes along.
        config: What the user said.
        home: Where the archive's volumes lie.

    Returns:
        The figures of the proof.

    Raises:
        MedssmError: The proof failed; nothing new is left at `output`.
        BadDataError: No volume for the proof.
    """
    volumes = _volumes(model, config, home) if config.prove else []
    encoder = encoder_of(model)
    network = EncoderMap(**encoder)
    state = model.network.state_dict()
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    with torch.no_grad():
        example = torch.zeros(1, encoder["in_channels"], *model.content["crop"])
        width = int(network.eval()(example).shape[1])
    name = bundle_name(output)
    recipe, content = recipe_of(model, embed), metadata_of(model, name, embed, width)
    bundle = CaseBundle(
        network, encoder["encoder"], NETWORKS, bundle_modules(),
        recipe, content, page_of(model, name, embed, recipe, content),
    )  # fmt: skip

    def prove(folder: Path) -> dict[str, Any]:
        return _prove(folder, model, embed, volumes)

    return write_case_bundle(bundle, output, prove if config.prove else None)


def _volumes(model: PretrainedModel, config: BundleConfig, home: Path) -> list[InputVolume]:
    if config.input is not None:
        found = image_files(model, Path(config.input))
    else:
        try:
            found = stored_volumes(model, home, "validation")
        except (MedssmError, OSError) as error:
            raise BadDataError(
                f"{error} For the proof give input=FOLDER of volumes, or prove=false to go "
                "without it."
            ) from error
    if not found:
        raise BadDataError(
            f"{config.input or model.content['dataset']}: no volume for the proof. Give "
            "input=FOLDER of volumes, or prove=false to go without it."
        )
    return found[: config.cases or None]


def _prove(
    folder: Path, model: PretrainedModel, embed: bool, volumes: list[InputVolume]
) -> dict[str, Any]:
    """Let MONAI check the bundle and embed volumes, and hold its numbers against ours."""
    with checked(folder, embed) as (scratch, hidden):
        images = scratch / "images"
        images.mkdir()
        for index, volume in enumerate(volumes):
            voxels, affine = volume.read()
            nibabel.save(nibabel.Nifti1Image(voxels, affine), images / f"volume_{index}.nii.gz")
        proof.run_inference(folder, images, scratch / "monai", hidden)
        wishes = ("reconstructions=false",)
        predict_pretraining(PredictRequest(model.folder, images, scratch / "ours", scratch, wishes))
        cases = read_json(scratch / "ours" / PREDICTIONS)["cases"]
        differences = {
            name: _difference(scratch / "monai" / f"{name}.json", case["embedding"])
            for name, case in cases.items()
        }
    return verdict(differences, TOLERANCE, embed, "volumes", "number")


def _difference(file: Path, ours: list[float]) -> float:
    """The largest one; infinite where MONAI gave no answer."""
    rows = read_json(file)["rows"] if file.is_file() else []
    return largest([*rows[0].values()], ours) if len(rows) == 1 else float("inf")
