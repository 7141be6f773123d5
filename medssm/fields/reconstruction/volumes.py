"""Reconstruct volumes with any method: slice by slice, resumable, a bad file never stops others."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from medssm.core.errors import BadDataError
from medssm.core.files import RECORDS, atomic_path, digest, sha256, write_json
from medssm.core.log import Progress, say, warn
from medssm.data.kspace.volume import KspaceVolume
from medssm.data.kspace_writers import check_formats, write_reconstruction
from medssm.data.readers.kspace import open_kspace
from medssm.fields.reconstruction.importing import case_files
from medssm.fields.reconstruction.masks_of_cases import drawn, mask_of_file, own
from medssm.fields.reconstruction.prediction_record import cases_to_keep
from medssm.fields.reconstruction.preparation import find_padding
from medssm.fields.reconstruction.samples import complex_tensor
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.fields.reconstruction.volumes_report import VolumesReport
from medssm.mri.undersampling import Mask

PREDICTIONS = "predictions.json"


@dataclass(frozen=True)
class SliceImage:
    """What a method makes of one slice, in the units of the data.

    Args:
        complex_image: With phase, before the header's crop.
        magnitude: What is compared with references; that of `complex_image` when not given.
        uncertainty: Standard deviation of the magnitude, where it was asked for.
        figures: Numbers to be remembered, e.g. the error on withheld samples.

    Shape:
        all: (H, W).
    """

    complex_image: np.ndarray
    magnitude: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


class Method(Protocol):
    """A way to reconstruct: a network or a classical solver.

    `key` is a hash of all its settings. It is called with masked samples (C, H, W) complex64, the
    mask and its centre (H, W) as booleans, the volume and the number of the slice.
    """

    name: str
    key: str

    def __call__(
        self,
        kspace: np.ndarray,
        mask: np.ndarray,
        acs: np.ndarray,
        volume: KspaceVolume,
        index: int,
    ) -> SliceImage | np.ndarray:
        """Reconstruct one slice."""
        ...


@dataclass(frozen=True)
class VolumesConfig:
    """What is reconstructed and how it is written.

    Args:
        input: A file or a folder of k-space.
        output: A folder.
        sampling: Which masks undersample files that hold every sample.
        slices: Numbers of slices; None takes all.
        formats: Of the images: h5, nifti, dicom.
        force: Do finished cases again.
        model: What the record says reconstructed.
        padding: Samples below this part of the mean were never acquired.
        told: More for the record.
    """

    input: Path
    output: Path
    sampling: SamplingConfig
    slices: Sequence[int] | None = None
    formats: Sequence[str] = ("h5",)
    force: bool = False
    model: str = ""
    padding: float = 0.001
    told: Mapping[str, Any] = field(default_factory=dict)


def predict_volumes(config: VolumesConfig, method: Method) -> VolumesReport:
    """Reconstruct every file of a folder.

    Raises:
        BadDataError: There is no k-space at the input.
        UsageError: The output folder holds another model's work on other files.
    """
    files = case_files(Path(config.input))
    record = config.output / PREDICTIONS
    before = cases_to_keep(record, (config.model, method.name), files, config.force)
    report = VolumesReport(cases={name: dict(each) for name, each in before.items()})
    bar = Progress(len(files), "reconstruct")
    for case, path in files.items():
        try:
            volume = replace(open_kspace(path), name=case)
            for note in volume.notes:
                say("%s: %s", case, note)
            entry = before.get(volume.name)
            key = _key(config, method, path)
            if not config.force and entry is not None and _stands(config.output, entry, key):
                report.skipped.append(volume.name)
            else:
                report.cases[volume.name] = _volume(config, method, volume, key)
                _write_record(config, method, report)
        except BadDataError as error:
            report.cases.pop(case, None)
            report.failed[case] = str(error)
            warn("%s", error)
        bar.step(case)
    _write_record(config, method, report)
    return report


def _key(config: VolumesConfig, method: Method, path: Path) -> str:
    sampling = vars(config.sampling)
    mask = config.sampling.file
    return digest([
        method.key, sampling, mask and sha256(Path(mask)), config.slices, config.formats,
        sha256(path),
    ])  # fmt: skip


def _stands(output: Path, entry: Mapping[str, Any], key: str) -> bool:
    files = entry.get("files", {})
    whole = all((output / n).is_file() and sha256(output / n) == h for n, h in files.items())
    return bool(files) and entry.get("key") == key and whole


def _write_record(config: VolumesConfig, method: Method, report: VolumesReport) -> None:
    write_json(
        config.output / PREDICTIONS,
        {
            "format": 1,
            "field": "reconstruction",
            "model": config.model,
            "method": method.name,
            **config.told,
            "cases": dict(sorted(report.cases.items())),
            "failed": report.failed,
        },
    )


def mask_of(volume: KspaceVolume, sampling: SamplingConfig) -> Callable[[np.ndarray], Mask]:
    """From a slice of k-space to its mask: the file's own, the user's, or one by the file's name.

    Raises:
        UsageError: A mask cannot be drawn for this matrix.
        BadDataError: The user's mask does not fit.
    """
    shape = volume.shape[2:]
    if volume.mask is not None:
        given = own(volume.mask, volume.acs)
        return lambda _: given
    if sampling.file is not None:
        chosen = mask_of_file(Path(sampling.file), shape)
        return lambda _: chosen
    draw = drawn(sampling, shape, volume.name)
    if volume.padding is not None:
        never = torch.from_numpy(np.asarray(volume.padding, dtype=bool))
        return lambda _: draw(never)
    return lambda kspace: draw(find_padding(complex_tensor(kspace), 0.001))


def _volume(
    config: VolumesConfig, method: Method, volume: KspaceVolume, key: str
) -> dict[str, Any]:
    check_formats(volume, tuple(config.formats))
    began = time.monotonic()
    chosen = list(range(volume.slices) if config.slices is None else config.slices)
    if not chosen or not all(0 <= each < volume.slices for each in chosen):
        raise BadDataError(
            f"slices={chosen}: {volume.path} has slices 0 to {volume.slices - 1}. Name those."
        )
    mask_at = mask_of(volume, config.sampling)
    parts = config.output / RECORDS / "slices" / volume.name
    figures: dict[str, list[float]] = {}
    first: Mask | None = None
    for place, index in enumerate(chosen):
        kspace = volume.read(index)
        mask = mask_at(kspace)
        first = first or mask
        part = parts / f"{index:05d}.npz"
        if config.force or not _fits(part, key):
            _write_part(part, _slice(method, kspace, mask, volume, index), key)
        with np.load(part) as stored:
            for name in stored.files:
                if name.startswith("figure_"):
                    figures.setdefault(name[7:], []).append(float(stored[name]))
        if len(chosen) > 1:
            say("%s: slice %d of %d", volume.name, place + 1, len(chosen))
    assert first is not None
    return _finish(config, volume, parts, (chosen, first), {
        "key": key,
        "input": str(volume.path),
        "slices": chosen,
        "undersampled_input": volume.mask is not None,
        "acceleration": round(volume.acceleration_of(first.sampled.numpy()), 4),
        "figures": figures,
        "seconds": round(time.monotonic() - began, 3),
    })  # fmt: skip


def _slice(
    method: Method, kspace: np.ndarray, mask: Mask, volume: KspaceVolume, index: int
) -> SliceImage:
    sampled, acs = mask.sampled.numpy(), mask.acs.numpy()
    made = method(np.where(sampled, kspace, 0), sampled, acs, volume, index)
    return made if isinstance(made, SliceImage) else SliceImage(made)


def _fits(part: Path, key: str) -> bool:
    if not part.is_file():
        return False
    try:
        with np.load(part) as stored:
            return str(stored["key"]) == key
    except (OSError, ValueError, KeyError):
        return False


def _write_part(part: Path, made: SliceImage, key: str) -> None:
    size = made.complex_image.shape
    magnitude = np.abs(made.complex_image) if made.magnitude is None else made.magnitude
    arrays: dict[str, Any] = {
        "key": np.array(key),
        "magnitude": magnitude.astype(np.float32).reshape(size),
        "complex": made.complex_image.astype(np.complex64),
        **{f"figure_{name}": np.array(each) for name, each in made.figures.items()},
    }
    if made.uncertainty is not None:
        arrays["uncertainty"] = made.uncertainty.astype(np.float32)
    with atomic_path(part) as partial:
        np.savez(partial, **arrays)


def _finish(
    config: VolumesConfig,
    volume: KspaceVolume,
    parts: Path,
    done: tuple[list[int], Mask],
    entry: dict[str, Any],
) -> dict[str, Any]:
    """Put the slices together, write the volume, and clear away the slices."""
    chosen, mask = done
    height, width = volume.image_size
    stacks: dict[str, list[np.ndarray]] = {}
    for index in chosen:
        with np.load(parts / f"{index:05d}.npz") as stored:
            for name in ("magnitude", "complex", "uncertainty"):
                if name in stored.files:
                    stacks.setdefault(name, []).append(cropped(stored[name], (height, width)))
    whole = {name: np.stack(each) for name, each in stacks.items()}
    written = write_reconstruction(
        config.output / volume.name,
        whole["magnitude"],
        volume,
        complex_image=whole["complex"],
        uncertainty=whole.get("uncertainty"),
        formats=tuple(config.formats),
        attributes={"model": config.model, "acceleration": entry["acceleration"]},
    )
    mask_file = config.output / RECORDS / "masks" / f"{volume.name}.npy"
    with atomic_path(mask_file) as partial:
        np.save(partial, mask.sampled.numpy())
    for part in parts.glob("*.npz"):
        part.unlink()
    files = {str(Path(each).relative_to(config.output)): sha256(Path(each))
             for each in written if Path(each).is_file()}  # fmt: skip
    return {**entry, "file": f"{volume.name}.h5", "files": files,
            "mask": str(mask_file.relative_to(config.output))}  # fmt: skip


def cropped(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The centre of an image; a side that is shorter than wanted stays."""
    height, width = (min(want, have) for want, have in zip(size, image.shape, strict=True))
    top, left = image.shape[0] // 2 - height // 2, image.shape[1] // 2 - width // 2
    return image[top : top + height, left : left + width]
