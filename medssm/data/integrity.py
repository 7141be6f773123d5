"""Integrity: every file read to its end, every label held against its image, before anything runs.

Severity: an *error* would change what is learned without a word (a cut file, a NaN, a label that
belongs elsewhere); it refuses the case. A *warning* is odd and usable (an empty label, a stray
file); it is told and the case stays.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.findings import Finding, format_findings
from medssm.data.manifest import Case, Manifest
from medssm.data.readers import reader_of
from medssm.data.strays import check_folder
from medssm.data.volume import Header

__all__ = ["Finding", "check_image_file", "check_manifest", "format_findings"]
_MM = 1e-2
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def check_manifest(manifest: Manifest, *, workers: int = 4) -> list[Finding]:
    """Check a whole data set.

    Args:
        manifest: The data set.
        workers: Threads; unpacking and comparing happen outside of Python's lock.

    Returns:
        What was found; empty where all is well.
    """
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        checked = list(pool.map(lambda case: _check_case(case, manifest), manifest.cases.values()))
    findings = [finding for result in checked for finding in result.findings]
    findings += check_folder(manifest)
    findings += _duplicates(checked)
    readable = [result for result in checked if result.foreground is not None]
    if readable and not any(result.foreground for result in readable):
        findings.append(
            Finding(
                "", str(manifest.folder), "no foreground", "error",
                "all labels are background", "a foreground voxel somewhere",
                "check that the label files belong to the images", skippable=False,
            )
        )  # fmt: skip
    return findings


def check_image_file(path: Path) -> list[Finding]:
    """Check one image as `predict` gets it: complete, finite, not constant."""
    _, _, findings = _read_image("", Path(path))
    return findings


@dataclass(frozen=True)
class _Checked:
    case: str
    file: str
    findings: list[Finding]
    foreground: bool | None = None
    digest: str | None = None


def _check_case(case: Case, manifest: Manifest) -> _Checked:
    findings: list[Finding] = []
    headers: list[Header] = []
    digest: str | None = None
    for image in case.images:
        header, voxels, found = _read_image(case.name, image)
        findings += found
        if header is not None:
            headers.append(header)
        if voxels is not None and digest is None:
            digest = hashlib.sha256(np.ascontiguousarray(voxels).data).hexdigest()
    for header, image in zip(headers[1:], case.images[1:], strict=False):
        findings += _compare(case.name, image, header, headers[0], "channel 0")
    findings += _check_channels(case, headers, manifest)
    foreground, found = _check_label(case, headers[0] if headers else None, manifest)
    name = str(case.images[0]) if case.images else ""
    return _Checked(case.name, name, findings + found, foreground, digest)


def _check_channels(case: Case, headers: list[Header], manifest: Manifest) -> list[Finding]:
    # a picture holds its colours in one file
    count, wanted = sum(header.channels for header in headers), len(manifest.channels)
    # a file that cannot be read is told as such
    if count == wanted or len(headers) < len(case.images):
        return []
    files = f"{len(case.images)} file" + ("s" if len(case.images) != 1 else "")
    return [
        Finding(
            case.name, str(case.images[0]) if case.images else str(manifest.folder),
            "channels", "error", f"{count} channels in {files}", f"{wanted} channels",
            "add the missing channel files, or correct channel_names",
        )
    ]  # fmt: skip


def _read_image(case: str, path: Path) -> tuple[Header | None, np.ndarray | None, list[Finding]]:
    header, voxels, findings = _read(case, path)
    if header is None or voxels is None:
        return header, voxels, findings
    if voxels.dtype.kind in "fc" and voxels.dtype.kind != "c":
        bad = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
        if bad:
            findings.append(
                _error(case, path, "not finite", f"{bad} NaN or infinite voxels", "finite voxels",
                       "replace them at the source; a NaN spreads through the whole case")
            )  # fmt: skip
            return header, voxels, findings
    low, high = (float(voxels.min()), float(voxels.max())) if voxels.size else (0.0, 0.0)
    if low == high:
        problem = "all zero" if high == 0 else "constant"
        findings.append(
            _error(case, path, problem, f"every voxel is {high:g}", "an image",
                   "export the image again, or leave the case out")
        )  # fmt: skip
    if max(abs(low), abs(high)) > _FLOAT32_MAX:
        findings.append(
            _error(case, path, "beyond float32", f"{low:g} to {high:g}", "below 3.4e38",
                   "rescale the image")
        )  # fmt: skip
    return header, voxels, findings


def _read(case: str, path: Path) -> tuple[Header | None, np.ndarray | None, list[Finding]]:
    """Header and voxels of a file, or why there are none."""
    if not path.is_file():
        return None, None, [
            _error(case, path, "missing", "no such file", "a file",
                   "restore the file, or take the case out of dataset.json")
        ]  # fmt: skip
    try:
        reader = reader_of(path)
        header = reader.header(path)
    except BadDataError as error:
        return None, None, [_damaged(case, path, error)]
    findings = [
        Finding(case, str(path), "header", "warning", text, "one geometry",
                "the sform is used; make both equal if that is wrong")
        for text in header.warnings
    ]  # fmt: skip
    spatial = tuple(size for size in header.shape if size > 1)
    if len(header.shape) > 3 and len(spatial) > 3:
        findings.append(
            _error(case, path, "4D", f"shape {header.shape}", "3 axes, one file a channel",
                   "split it: medssm import msd splits 4D images into channels")
        )  # fmt: skip
        return header, None, findings
    colours = header.samples > 1 and header.affine is not None
    if colours or "complex" in header.dtype:
        findings.append(
            _error(case, path, "voxel type", f"{header.dtype} x{header.samples}", "one number",
                   "convert it to a grey image, one file a channel")
        )  # fmt: skip
        return header, None, findings
    try:
        return header, reader.array(path), findings
    except BadDataError as error:
        return header, None, [*findings, _damaged(case, path, error)]
    except MemoryError:
        return header, None, [
            *findings,
            _error(case, path, "too large", f"shape {header.shape}", "what fits into memory",
                   "crop it, or use a machine with more memory"),
        ]  # fmt: skip


def _check_label(
    case: Case, image: Header | None, manifest: Manifest
) -> tuple[bool | None, list[Finding]]:
    if case.label is None:
        file = str(case.images[0]) if case.images else str(manifest.folder)
        return None, [
            Finding(case.name, file, "no label", "error", "an image without a label file",
                    "a label file of the same name", "add the label, or take the image away")
        ]  # fmt: skip
    header, voxels, findings = _read(case.name, case.label)
    if header is None or voxels is None:
        return None, findings
    if image is not None:
        findings += _compare(case.name, case.label, header, image, "the image")
    if header.samples > 1:
        findings.append(
            _error(case.name, case.label, "not a label map", f"{header.samples} colours a pixel",
                   "one number a pixel", "save the label's values as a grey picture")
        )  # fmt: skip
        return None, findings
    values = np.unique(voxels)
    allowed = manifest.labels.values
    fractions = [value for value in values if not float(value).is_integer()]
    extra = [value for value in values if float(value) not in allowed]
    if fractions or len(values) > 4 * len(allowed) + 8:
        findings.append(
            _error(case.name, case.label, "not a label map",
                   f"{len(values)} values from {values[0]:g} to {values[-1]:g}",
                   f"values {_shown(sorted(allowed))}",
                   "this looks like an image among the labels; put the label file there")
        )  # fmt: skip
    elif extra:
        findings.append(
            _error(case.name, case.label, "undeclared value", f"value {_shown(extra)}",
                   f"values {_shown(sorted(allowed))}",
                   "declare it in dataset.json, or correct the label")
        )  # fmt: skip
    ignored = {0, manifest.labels.ignore}
    foreground = any(float(value) not in ignored for value in values)
    if not foreground:
        findings.append(
            Finding(case.name, str(case.label), "empty label", "warning", "background only",
                    "a foreground voxel", "right if the structure is absent; else correct it")
        )  # fmt: skip
    return foreground, findings


def _compare(case: str, path: Path, header: Header, other: Header, whose: str) -> list[Finding]:
    mine, theirs = _spatial(header), _spatial(other)
    if mine != theirs:
        return [
            _error(case, path, "shape", f"{mine}", f"{theirs}, as {whose}",
                   "export image and label on one grid")
        ]  # fmt: skip
    if header.affine is None or other.affine is None:
        return []
    difference = np.abs(header.affine - other.affine)
    if not np.all(np.isfinite(difference)) or difference.max() <= _MM:
        return []
    return [
        _error(case, path, _which(header.affine, other.affine), _geometry(header.affine),
               f"{_geometry(other.affine)}, as {whose}",
               "resample onto the image's grid, or copy its affine if only the header is wrong")
    ]  # fmt: skip


def _which(mine: np.ndarray, theirs: np.ndarray) -> str:
    sizes = [np.linalg.norm(each[:3, :3], axis=0) for each in (mine, theirs)]
    if np.abs(sizes[0] - sizes[1]).max() > 1e-3:
        return "spacing"
    if np.abs(mine[:3, :3] - theirs[:3, :3]).max() > _MM:
        return "direction"
    return "origin"


def _geometry(affine: np.ndarray) -> str:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    origin = ", ".join(f"{each:.4g}" for each in affine[:3, 3])
    return f"{'x'.join(f'{each:.4g}' for each in spacing)} mm at ({origin})"


def _spatial(header: Header) -> tuple[int, ...]:
    shape = header.shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _duplicates(checked: list[_Checked]) -> list[Finding]:
    first: dict[str, _Checked] = {}
    findings = []
    for result in checked:
        if result.digest is None:
            continue
        twin = first.setdefault(result.digest, result)
        if twin is not result:
            findings.append(
                Finding(result.case, result.file, "duplicate", "warning",
                        f"same voxels as {twin.case}", "different images",
                        "give both one patient, or take one away: folds could leak")
            )  # fmt: skip
    return findings


def _error(case: str, path: Path, problem: str, found: str, expected: str, remedy: str) -> Finding:
    return Finding(case, str(path), problem, "error", found, expected, remedy)


def _damaged(case: str, path: Path, error: BadDataError) -> Finding:
    text = str(error).removeprefix(f"{path}: ")
    problem = "truncated" if text.startswith("cut off") else "unreadable"
    return _error(case, path, problem, text, "a complete file", "copy it again from its source")


def _shown(values: list[int] | list[float]) -> str:
    texts = [f"{value:g}" for value in values[:8]]
    return ", ".join(texts) + (", …" if len(values) > 8 else "")
