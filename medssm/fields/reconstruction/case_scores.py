"""One volume against its reference: the prediction and the baselines beside it, slice by slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from medssm.core.errors import BadDataError
from medssm.data.kspace.volume import KspaceVolume
from medssm.data.kspace_writers import read_reconstruction
from medssm.data.readers.kspace import open_kspace
from medssm.fields.reconstruction.baseline_prediction import WITHHELD_SHARE, TuneName, held_back
from medssm.fields.reconstruction.baselines import espirit_maps, reconstruct
from medssm.fields.reconstruction.prediction_record import PredictedCase
from medssm.fields.reconstruction.reference_images import centre_crop, reference_of
from medssm.fields.reconstruction.tuning import against_reference, tune, withheld_error
from medssm.fields.reconstruction.uncertainty import calibration
from medssm.metrics.reconstruction import all_scores, foreground
from medssm.mri.coils import estimate_maps, magnitude
from medssm.mri.undersampling import find_acs

Stack = np.ndarray


@dataclass(frozen=True)
class CaseScores:
    """What was measured on one volume.

    Args:
        case: Its name.
        slices: Numbers of its slices.
        acceleration: Of the mask.
        volume: Method to measure to value over the volume.
        per_slice: Method to measure to values of the slices.
        withheld: Method to mean error on samples that were held back.
        calibration: How honest the stated uncertainty is, where there is one.
        notes: What could not be laid beside the prediction, and why.
    """

    case: str
    slices: Sequence[int]
    acceleration: float
    volume: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    per_slice: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    withheld: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, float | list[float]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class CaseImages:
    """All images of a volume, by method; the reference first where it is known.

    Args:
        stacks: Name to images.
        mask: What was sampled.
        maps: Magnitudes of the coils' sensitivities of the middle slice.
        uncertainty: Stated standard deviations.
        notes: Baselines that were left out, and why.

    Shape:
        stacks, uncertainty: (S, h, w); mask: (H, W); maps: (C, H, W).
    """

    stacks: Mapping[str, Stack]
    mask: np.ndarray
    maps: np.ndarray | None
    uncertainty: Stack | None
    notes: tuple[str, ...] = ()


def load_case(
    case: PredictedCase,
    method: str,
    references: Mapping[str, Path] | None,
    baselines: Sequence[str],
    tuned: TuneName,
) -> CaseImages:
    """Gather prediction, reference and baselines of a case.

    Args:
        case: As it was predicted.
        method: How to call the prediction.
        references: Case to file of what is true; None takes the input itself.
        baselines: Which classical methods to lay beside.
        tuned: How their options are chosen.

    Raises:
        BadDataError: A file is missing, damaged or of another size.
    """
    found = read_reconstruction(case.file)
    prediction = found["reconstruction"]
    reference = _reference(case, references)
    if reference is not None and reference.shape != prediction.shape:
        raise BadDataError(
            f"{case.file}: images of {prediction.shape} (slices, h, w). Expected "
            f"{reference.shape} as the reference has; predict from the same file again."
        )
    stacks: dict[str, Stack] = {} if reference is None else {"reference": reference}
    mask, maps, notes = case.mask(), None, []
    if baselines and case.input.is_file():
        volume = open_kspace(case.input)
        acs = _centre(volume, mask)
        middle = volume.read(case.slices[len(case.slices) // 2])
        maps = _sensitivities(middle, acs & mask, volume.centred)
        for name in baselines:
            try:
                made = _baseline(name, case, volume, (mask, acs), reference, tuned)
                stacks[name if reference is None else _called(name, tuned)] = made
            except BadDataError as error:
                notes.append(f"{case.name}: no {name}: {error}")
    stacks[method] = prediction
    return CaseImages(stacks, mask, maps, found.get("uncertainty"), tuple(notes))


def _reference(case: PredictedCase, files: Mapping[str, Path] | None) -> Stack | None:
    if files is None:
        if not case.input.is_file():
            raise BadDataError(
                f"{case.input}: the input of {case.name} is gone. Expected it as the reference; "
                "put it back, or name references with -r."
            )
        return _stack(case.input, case.slices)
    if case.name not in files:
        raise BadDataError(
            f"{case.name}: no reference. Expected {case.name}.h5 or .npy in the folder of -r."
        )
    return _stack(files[case.name], case.slices)


def _stack(path: Path, slices: Sequence[int]) -> Stack | None:
    """Reference images of a file: an array, a reconstruction, or k-space with every sample."""
    images = None
    if path.suffix == ".npy":
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        images = None if np.iscomplexobj(values) else values
    elif path.suffix == ".h5" and _is_reconstruction(path):
        images = read_reconstruction(path)["reconstruction"]
    if images is None:
        volume = open_kspace(path)
        found = [reference_of(volume, index) for index in slices if index < volume.slices]
        known = [each for each in found if each is not None]
        return np.stack(known) if len(known) == len(slices) else None
    images = np.asarray(images, dtype=np.float32)
    images = images[None] if images.ndim == 2 else images
    if len(images) == len(slices):
        return images
    if max(slices) >= len(images):
        raise BadDataError(
            f"{path}: {len(images)} slices. Expected {max(slices) + 1} or more, or as many as were "
            f"predicted ({len(slices)})."
        )
    return images[list(slices)]


def _is_reconstruction(path: Path) -> bool:
    try:
        read_reconstruction(path)
    except BadDataError:
        return False
    return True


def _centre(volume: KspaceVolume, mask: np.ndarray) -> np.ndarray:
    if volume.acs is not None:
        return volume.acs
    return find_acs(torch.from_numpy(np.ascontiguousarray(mask))).numpy()


def _baseline(
    name: str,
    case: PredictedCase,
    volume: KspaceVolume,
    sampled: tuple[np.ndarray, np.ndarray],
    reference: Stack | None,
    tuned: TuneName,
) -> Stack:
    """All slices of a case by a classical method, cropped magnitudes."""
    (mask, acs), centred, maps = sampled, volume.centred, None
    made = []
    for place, index in enumerate(case.slices):
        kspace = np.where(mask, volume.read(index), 0)
        if name != "zero_filled":
            maps = espirit_maps(kspace, acs, centred=centred)
        if tuned.startswith("oracle") and reference is not None:
            score = against_reference(reference[place], tuned.removeprefix("oracle_"))
            image = tune(name, kspace, mask, score, maps=maps, centred=centred).image
        else:
            image = reconstruct(name, kspace, mask, maps, centred=centred)
        made.append(centre_crop(np.abs(image), volume.image_size).astype(np.float32))
    return np.stack(made)


def _sensitivities(kspace: np.ndarray, acs: np.ndarray, centred: bool) -> np.ndarray:
    """Magnitudes of the maps that the network starts from, (C, H, W)."""
    samples = torch.view_as_real(torch.from_numpy(kspace))[None]
    centre = torch.from_numpy(np.ascontiguousarray(acs))[None, None, :, :, None]
    return np.asarray(magnitude(estimate_maps(samples, centre, centred))[0].numpy())


def _called(name: str, tuned: TuneName) -> str:
    plain = name in ("zero_filled", "sense") or not tuned.startswith("oracle")
    return name if plain else f"{name} ({tuned.replace('_', ' ')})"


def score_case(
    case: PredictedCase, method: str, images: CaseImages, baselines: Sequence[str]
) -> CaseScores:
    """Measure everything that can be measured on a case.

    Args:
        case: As it was predicted.
        method: How the prediction is called in `images`.
        images: Of the case.
        baselines: Which are measured on withheld samples where there is no reference.
    """
    reference = images.stacks.get("reference")
    if reference is None:
        kept = [name for name in baselines if name in images.stacks]
        found = _withheld(case, method, kept)
        head = (case.name, case.slices, case.acceleration)
        return CaseScores(*head, withheld=found, notes=images.notes)
    made = {
        name: all_scores(reference, stack)
        for name, stack in images.stacks.items()
        if name != "reference"
    }
    honest: Mapping[str, float | list[float]] = {}
    if images.uncertainty is not None:
        error = np.abs(images.stacks[method] - reference)
        honest = calibration(error, images.uncertainty, foreground(reference))
    return CaseScores(
        case.name,
        case.slices,
        case.acceleration,
        {name: scores["volume"] for name, scores in made.items()},
        {name: scores["slices"] for name, scores in made.items()},
        calibration=honest,
        notes=images.notes,
    )


def _withheld(case: PredictedCase, method: str, baselines: Sequence[str]) -> dict[str, float]:
    """Errors on samples that a second reconstruction did not see, of all methods alike."""
    found = {}
    if case.figures.get("withheld_error"):
        found[method] = float(np.mean(case.figures["withheld_error"]))
    names = [name for name in baselines if name not in ("zero_filled", *found)]
    if not names or not case.input.is_file():
        return found
    volume, mask = open_kspace(case.input), case.mask()
    acs = _centre(volume, mask)
    held = held_back(mask, acs, WITHHELD_SHARE)
    for name in names:
        errors = []
        for index in case.slices:
            kspace = volume.read(index)
            maps = espirit_maps(kspace, acs, centred=volume.centred)
            image = reconstruct(name, kspace, mask & ~held, maps, centred=volume.centred)
            errors.append(withheld_error(image, maps, kspace, held, centred=volume.centred))
        found[name] = float(np.mean(errors))
    return found
