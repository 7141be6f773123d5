"""A model folder as one zip with a manifest of checksums, and back; of any field."""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256 as new_sha256
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import SafetensorError, safe_open

import medssm
from medssm.core.archives import put_in_place, refuse_occupied, staged
from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import atomic_path, is_temporary, read_json, sha256
from medssm.core.inert import file_name, refuse_expressions
from medssm.networks import TABLES

MANIFEST = "manifest.json"
KIND = "medssm model"
FORMAT = 1
# no pickles, no YAML: what a package holds is read by parsers that can only read
SUFFIXES = (".json", ".csv", ".safetensors")
# of tables only the curves: the others name cases and what is true of them
_TABLES = ("metrics.csv",)
# field and file: who was learned from, and what is known of them; predictions need none of it
_PATIENTS = {
    ("pathology", "plan.json"): ("bags", "splits", "files", "excluded", "mpp"),
    ("segmentation", "dataset.json"): ("dataset", "patients", "source"),
}
# of the machine and the way there, not of the model
_LEFT_OUT = ("environment.json", "run.json", "transfer.json", MANIFEST)
_DATASET = re.compile(r"Dataset\d{3}_\w[\w.-]*")
# a moment that zip can write; the same model gives the same bytes
_MOMENT = (1980, 1, 1, 0, 0, 0)
_DEEPEST = 3


@dataclass(frozen=True)
class Package:
    """What a package says of itself.

    Args:
        field: Whose model it is.
        dataset: What it was trained on.
        run: The name of its folder.
        version: The medssm that packed it.
        files: Name below the model folder to sha256 and size.
    """

    field: str
    dataset: str
    run: str
    version: str
    files: Mapping[str, Mapping[str, Any]]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(int(each["size"]) for each in self.files.values())


def write_package(model: Path, output: Path, force: bool = False) -> Package:
    """Pack a model folder: description, plan, weights as safetensors, figures of its validation.

    Absolute paths in its JSON files are cut down to their last part. Tables of cases, what a plan
    knows of patients and the list of a data set's files stay behind.

    Args:
        model: The model folder.
        output: The zip to write.
        force: Whether a file that is there makes way.

    Raises:
        UsageError: `output` is there, or is called otherwise than .zip.
        BadDataError: The folder holds no model, or no weights.
    """
    if output.suffix.lower() != ".zip":
        raise UsageError(f"{output}: --to package writes .zip.")
    if output.exists() and (not force or not output.is_file()):
        raise UsageError(f"{output} is there already. Give another name, or --force to replace it.")
    described = _described(model / "model.json")
    content = {name: _content(path, described["field"]) for name, path in _files(model)}
    if not any(name.endswith(".safetensors") for name in content):
        raise BadDataError(f"{model}: no weights in it (*.safetensors). Train it to its end first.")
    files = {
        name: {"sha256": _hash(each), "size": _size(each)} for name, each in sorted(content.items())
    }
    manifest = {
        "format": FORMAT,
        "kind": KIND,
        "field": described["field"],
        "dataset": described["dataset"],
        "run": model.resolve().name,
        "medssm_version": medssm.__version__,
        "files": files,
    }
    with atomic_path(output) as partial:
        # unpacked sizes are then what they seem, and no honest package looks like a bomb
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            _put(archive, MANIFEST, json.dumps(manifest, indent=2).encode())
            for name, each in sorted(content.items()):
                _put(archive, name, each)
        with staged(partial, partial.parent, suffixes=SUFFIXES) as folder:
            return check_package(folder, output)


def import_package(
    archive: Path, home: Path, name: str | None = None, force: bool = False
) -> tuple[Path, Package]:
    """Unpack a package under HOME/results, after every file was held against its checksum.

    Args:
        archive: The zip.
        home: The home folder.
        name: What to call the model folder; None takes the name it had.
        force: Whether a model folder of that name makes way.

    Returns:
        The model folder, which `predict` takes, and what the package says.

    Raises:
        BadDataError: Something in it is hostile, damaged, or not in the manifest.
        UsageError: A model folder of that name is there.
    """
    results = home / "results"
    if name is not None and PurePath(name).name != name:
        raise UsageError(f"--name {name!r}: expected one name without folders.")
    with staged(archive, results, suffixes=SUFFIXES) as folder:
        package = check_package(folder, archive)
        target = results / package.dataset / file_name(name or package.run, "the name", archive)
        refuse_occupied(target, force)
        target.parent.mkdir(exist_ok=True)
        put_in_place(folder, target, force)
    return target, package


def check_package(folder: Path, archive: Path) -> Package:
    """Hold what was unpacked against its manifest.

    Args:
        folder: The unpacked files.
        archive: Where they come from, for messages.

    Raises:
        BadDataError: A file is missing, changed or not in the manifest; a description is not of a
            model that medssm has; a weights file is none.
    """
    package = _manifest(folder / MANIFEST, archive)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found.discard(MANIFEST)
    for word, names in (
        ("not in its manifest", found - set(package.files)),
        ("in its manifest and not in it", set(package.files) - found),
    ):
        if names:
            raise BadDataError(
                f"{archive}: {', '.join(sorted(names)[:3])}: {word}. Expected the manifest to list "
                "every file; fetch the package again."
            )
    for name, facts in package.files.items():
        path = folder / name
        if path.stat().st_size != facts.get("size") or sha256(path) != facts.get("sha256"):
            raise BadDataError(
                f"{archive}: {name}: size or sha256 is not what {MANIFEST} says. It was damaged or "
                "changed; fetch the package again."
            )
        _check_file(path, f"{archive}: {name}")
    described = _described(folder / "model.json")
    if (described["field"], described["dataset"]) != (package.field, package.dataset):
        raise BadDataError(f"{archive}: model.json and {MANIFEST} are of different models.")
    return package


def _manifest(file: Path, archive: Path) -> Package:
    if not file.is_file():
        raise BadDataError(
            f"{archive}: holds no {MANIFEST}. Expected a package that medssm export --to package "
            "wrote; a model of nnU-Net comes in with medssm import nnunet-model."
        )
    content = read_json(file)
    told = content if isinstance(content, dict) else {}
    if (told.get("kind"), told.get("format")) != (KIND, FORMAT):
        raise BadDataError(
            f"{archive}: {MANIFEST} is of kind {told.get('kind')!r}, format {told.get('format')!r}."
            f" Expected {KIND!r}, format {FORMAT}; a newer medssm may have written it."
        )
    files = told.get("files")
    if not isinstance(files, dict) or not all(isinstance(each, dict) for each in files.values()):
        raise BadDataError(f"{archive}: {MANIFEST} lists no files. Fetch the package again.")
    field, dataset, run, version = (
        str(told.get(key, "")) for key in ("field", "dataset", "run", "medssm_version")
    )
    if not _DATASET.fullmatch(dataset):
        raise BadDataError(
            f"{archive}: {MANIFEST}: dataset is {dataset!r}. Expected DatasetNNN_Name."
        )
    file_name(run, "run", f"{archive}: {MANIFEST}")
    return Package(field, dataset, run, version, files)


def _described(file: Path) -> dict[str, Any]:
    """A model.json of a network that medssm has."""
    if not file.is_file():
        raise BadDataError(f"{file.parent}: no model.json in it, so it is no model folder.")
    content = read_json(file)
    refuse_expressions(content, file)
    told = content if isinstance(content, dict) else {}
    field, network = told.get("field"), told.get("network")
    if field not in TABLES:
        raise BadDataError(f"{file}: field is {field!r}; {nearest(str(field), TABLES)}")
    name = network.get("name") if isinstance(network, dict) else None
    if name not in TABLES[field]:
        raise BadDataError(f"{file}: network is {name!r}; {nearest(str(name), TABLES[field])}")
    return {"field": field, "dataset": told.get("dataset")}


def _check_file(path: Path, what: str) -> None:
    """Data by its content, not by its ending alone."""
    if path.suffix == ".json":
        refuse_expressions(read_json(path), what)
    elif path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as weights:
                weights.keys()
        except (SafetensorError, OSError) as error:
            raise BadDataError(f"{what}: not a whole safetensors file ({error}).") from error


def _files(model: Path) -> Iterator[tuple[str, Path]]:
    """What of a model folder travels, by its name in the package."""
    for path in sorted(model.rglob("*")):
        parts = path.relative_to(model).parts
        hidden = any(part.startswith(".") for part in parts) or is_temporary(path)
        travels = path.suffix in SUFFIXES and path.name not in _LEFT_OUT
        travels = travels and (path.suffix != ".csv" or path.name in _TABLES)
        plain = path.is_file() and not path.is_symlink() and len(parts) <= _DEEPEST
        if plain and travels and not hidden:
            yield "/".join(parts), path


def _content(path: Path, field: str) -> bytes | Path:
    """JSON without this machine's folders and without patients; other files as they are."""
    if path.suffix != ".json":
        return path
    content = without_folders(read_json(path))
    for key in _PATIENTS.get((field, path.name), ()) if isinstance(content, dict) else ():
        if key in content:
            # a reader asks for the key
            content[key] = type(content[key])()
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def without_folders(content: Any) -> Any:
    """JSON content whose absolute paths are cut down to their last part."""
    if isinstance(content, Mapping):
        return {without_folders(key): without_folders(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_folders(value) for value in content]
    if isinstance(content, str) and "\n" not in content:
        for kind in (PurePosixPath, PureWindowsPath):
            path: PurePath = kind(content)
            if path.is_absolute() and path.name:
                return path.name
    return content


def _hash(content: bytes | Path) -> str:
    return sha256(content) if isinstance(content, Path) else new_sha256(content).hexdigest()


def _size(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _put(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    member = zipfile.ZipInfo(name, _MOMENT)
    member.external_attr = 0o100644 << 16
    if isinstance(content, bytes):
        archive.writestr(member, content)
        return
    with content.open("rb") as source, archive.open(member, "w", force_zip64=True) as sink:
        shutil.copyfileobj(source, sink)
