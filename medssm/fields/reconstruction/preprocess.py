"""Preprocess: every sample checked, slow files cached, undersampled cases turned into images.

Each result is whole or absent and has a record; the same command again goes on where it was ended,
inside of a volume too.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import (
    RECORDS,
    atomic_path,
    digest,
    read_json,
    remove_temporaries,
    write_json,
)
from medssm.core.log import Progress, say, warn
from medssm.core.signature import make
from medssm.data.kspace.volume import KspaceVolume
from medssm.data.readers.kspace import open_kspace
from medssm.fields.reconstruction.baselines import espirit_maps, reconstruct
from medssm.fields.reconstruction.cached_volume import open_volume
from medssm.fields.reconstruction.case_check import check_slices
from medssm.fields.reconstruction.plan import ensure_plan
from medssm.fields.reconstruction.plan_file import ReconPlan
from medssm.runs.answer import Answer
from medssm.runs.compose import compose
from medssm.runs.field import StudyRequest
from medssm.runs.workspace import Workspace

IMAGES, KSPACE = "images", "kspace"
# their slices are put together from all over the file
_SLOW = ("ismrmrd", "bart")
_SPARE_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class PreprocessConfig:
    """What a user may say about preprocessing.

    Args:
        cache: Which cases are copied slice by slice into the preprocessed folder: those whose
            layout is slow to read, all, or none.
        method: What turns undersampled cases into the images that simulated training draws from.
        lamda: Its weight, for data scaled to the 99th percentile of the zero-filled image.
        iterations: Its iterations.
    """

    cache: Literal["auto", "all", "none"] = "auto"
    method: Literal["cg_sense", "l1_wavelet", "total_variation"] = "l1_wavelet"
    lamda: float = 0.005
    iterations: int = 100


def preprocess_reconstruction(request: StudyRequest) -> Answer:
    """Fill the caches of a data set; plans first where that is missing.

    Raises:
        BadDataError: Cases that cannot be read, unless --skip-bad leaves them out; others are done.
        MachineError: Not enough disk.
    """
    workspace, plan = ensure_plan(request)
    config = _config(request)
    failed: dict[str, str] = {}
    cached = _each(plan, _to_cache(plan, config), "cache", failed, request.skip_bad,
                   lambda name: _cache_case(workspace, plan, name, request.force))  # fmt: skip
    images = ensure_images(workspace, plan, request, failed=failed)
    if plan.scanned != "all":
        rest = [name for name in plan.cases if name not in {*plan.undersampled, *cached}]
        _each(plan, rest, "check", failed, request.skip_bad, lambda name: _check_all(plan, name))
    facts = {
        "dataset": workspace.dataset,
        "cases": len(plan.cases),
        "cached": sorted(cached),
        "images": [str(each) for each in images],
        "failed": failed,
    }
    lines = [
        f"{len(plan.cases) - len(failed)} of {len(plan.cases)} cases are whole; {len(cached)} "
        f"cached, {len(images)} undersampled turned into images by {config.method}",
        *[f"failed: {name}: {reason}" for name, reason in failed.items()],
    ]
    code = BadDataError.exit_code if failed else 0
    written = [workspace.preprocessed]
    return Answer(facts, lines, written, request.following("train"), code)


def _check_all(plan: ReconPlan, name: str) -> None:
    check_slices(open_kspace(Path(plan.cases[name].path)), "all")


def _config(request: StudyRequest | None) -> PreprocessConfig:
    content = compose("reconstruction", request.overrides if request else ())
    made: PreprocessConfig = make(PreprocessConfig, content.get("preprocess") or {}, "preprocess")
    return made


def _to_cache(plan: ReconPlan, config: PreprocessConfig) -> list[str]:
    return [
        name
        for name, case in plan.cases.items()
        if config.cache == "all" or (config.cache == "auto" and case.layout in _SLOW)
    ]


def _each(
    plan: ReconPlan, names: Sequence[str], label: str, failed: dict[str, str], skip_bad: bool,
    work: Callable[[str], Any],
) -> list[str]:  # fmt: skip
    """Work through cases; what fails is named, and the others go on."""
    done, bar = [], Progress(len(names), label)
    for name in names:
        try:
            work(name)
            done.append(name)
        except BadDataError as error:
            warn("%s", error)
            failed[name] = str(error)
        bar.step(name)
    bad = [name for name in names if name in failed]
    if bad and not skip_bad:
        raise BadDataError(
            f"{len(bad)} of {len(plan.cases)} cases failed: {', '.join(bad)} (first: "
            f"{failed[bad[0]]}); the others are done. Mend them and run the same command again, or "
            "leave them out with --skip-bad."
        )
    return done


def ensure_images(
    workspace: Workspace,
    plan: ReconPlan,
    request: StudyRequest | None = None,
    *,
    failed: dict[str, str] | None = None,
) -> list[Path]:
    """The classical reconstructions of all undersampled cases; made where they are missing.

    Args:
        workspace: Where they lie.
        plan: Says which cases are undersampled.
        request: Its overrides choose the method; None takes the defaults.
        failed: Takes case and reason of those that could not be made.

    Returns:
        One .npy a case, complex64 (S, H, W).

    Raises:
        BadDataError: A case failed and the request does not say --skip-bad.
    """
    config = _config(request)
    force, skip_bad = (request.force, request.skip_bad) if request else (False, False)
    collected: dict[str, str] = {} if failed is None else failed
    done = _each(
        plan, plan.undersampled, "reconstruct", collected, skip_bad,
        lambda name: _image_case(workspace, plan, name, config, force),
    )  # fmt: skip
    return [workspace.preprocessed / IMAGES / f"{name}.npy" for name in done]


def copy_of(workspace: Workspace, plan: ReconPlan, name: str) -> Path | None:
    """The copy of a case in the preprocessed folder, or None where there is none that fits."""
    copy = workspace.preprocessed / KSPACE / f"{name}.npy"
    return copy if _fits(copy, _made_of(plan, name, {})) else None


def open_case(workspace: Workspace, plan: ReconPlan, name: str) -> KspaceVolume:
    """A case of the plan, from the cache where there is a copy that fits.

    Raises:
        BadDataError: As `open_kspace`.
    """
    volume = open_volume(Path(plan.cases[name].path), copy_of(workspace, plan, name))
    return replace(volume, name=name, patient=plan.cases[name].patient)


def _cache_case(workspace: Workspace, plan: ReconPlan, name: str, force: bool) -> None:
    volume = open_kspace(Path(plan.cases[name].path))
    file = workspace.preprocessed / KSPACE / f"{name}.npy"
    _fill(file, volume, volume.shape, volume.read, _made_of(plan, name, {}), force)


def _image_case(
    workspace: Workspace, plan: ReconPlan, name: str, config: PreprocessConfig, force: bool
) -> None:
    volume = open_case(workspace, plan, name)
    mask, acs = volume.mask, volume.acs
    assert mask is not None
    assert acs is not None
    settings = {key: value for key, value in asdict(config).items() if key != "cache"}

    def image(index: int) -> np.ndarray:
        kspace = volume.read(index)
        maps = espirit_maps(kspace, acs, centred=volume.centred)
        return reconstruct(
            config.method, kspace, mask, maps, centred=volume.centred,
            lamda=config.lamda, iterations=config.iterations,
        )  # fmt: skip

    shape = (volume.slices, *volume.shape[2:])
    file = workspace.preprocessed / IMAGES / f"{name}.npy"
    _fill(file, volume, shape, image, _made_of(plan, name, settings), force)


def _made_of(plan: ReconPlan, name: str, settings: dict[str, Any]) -> str:
    facts = Path(plan.cases[name].path).stat()
    return digest([plan.cases[name].path, facts.st_size, facts.st_mtime_ns, settings])


def _record(file: Path) -> Path:
    return file.parent / RECORDS / f"{file.stem}.json"


def _fits(file: Path, made_of: str) -> bool:
    record = _record(file)
    return file.is_file() and record.is_file() and read_json(record).get("made_of") == made_of


def _fill(
    file: Path, volume: KspaceVolume, shape: tuple[int, ...],
    make_slice: Callable[[int], np.ndarray], made_of: str, force: bool,
) -> None:  # fmt: skip
    """Make an array slice by slice; slices that an ended run left are taken as they are."""
    if not force and _fits(file, made_of):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    _check_disk(file.parent, 2 * 8 * int(np.prod(shape, dtype=np.int64)))
    parts = file.parent / RECORDS / "parts" / file.stem
    if not parts.is_dir() or force or not _same(parts / "made_of.json", made_of):
        shutil.rmtree(parts, ignore_errors=True)
        write_json(parts / "made_of.json", {"made_of": made_of})
    remove_temporaries(file.parent)
    bar = Progress(shape[0], f"{file.parent.name} {volume.name}")
    for index in range(shape[0]):
        part = parts / f"{index:05d}.npy"
        if not part.is_file():
            with atomic_path(part) as partial:
                np.save(partial, make_slice(index).astype(np.complex64))
        bar.step()
    _record(file).unlink(missing_ok=True)
    with atomic_path(file) as partial:
        whole = np.lib.format.open_memmap(partial, "w+", np.complex64, shape)
        for index in range(shape[0]):
            whole[index] = np.load(parts / f"{index:05d}.npy", allow_pickle=False)
        whole.flush()
        del whole
    write_json(_record(file), {"case": volume.name, "input": str(volume.path), "made_of": made_of})
    shutil.rmtree(parts, ignore_errors=True)
    say("%s: %d slices", file, shape[0])


def _same(file: Path, made_of: str) -> bool:
    return file.is_file() and read_json(file).get("made_of") == made_of


def _check_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise MachineError(
            f"{folder}: {free / 1e9:.1f} GB are free. Expected {needed / 1e9:.1f} GB for the next "
            "case; make room, or take another --home."
        )
