"""A bundle as a folder: its files, and how it comes to its place once it is whole."""

import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medssm.bundle import proof
from medssm.bundle.metadata import check_metadata
from medssm.core.errors import UsageError
from medssm.core.files import TEMPORARY_MARK, atomic_path, write_json, write_text
from medssm.core.log import say
from medssm.core.resources import licence_text

_ZIP = ".zip"
# what MONAI reads beside a configuration, and misses aloud: everything to the screen
_LOGGING = """\
[loggers]
keys=root

[handlers]
keys=screen

[formatters]
keys=full

[logger_root]
level=INFO
handlers=screen

[handler_screen]
class=StreamHandler
level=INFO
formatter=full
args=(sys.stdout,)

[formatter_full]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""


@dataclass(frozen=True)
class Parts:
    """What fills a bundle, but for the code that lies in scripts/ already, and its README.

    Args:
        network: With its weights.
        metadata: The content of metadata.json.
        configs: Content of configs/NAME.json, by NAME.
        licence: Of the data that the network learned from.
    """

    network: nn.Module
    metadata: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]]
    licence: str


def check_free(output: Path, force: bool) -> None:
    """Refuse to write over anything unasked; and over what is no bundle at all.

    Raises:
        UsageError: Something is there.
    """
    if not output.exists():
        return
    if not force:
        raise UsageError(f"{output}: is there already; name another, or take --force.")
    packed = output.suffix == _ZIP
    if output.is_file() if packed else (output / "configs" / "metadata.json").is_file():
        return
    what = "a folder" if output.is_dir() else "a file"
    raise UsageError(f"{output}: is {what} and no bundle; it is not removed. Name another.")


@contextmanager
def unfinished(output: Path) -> Iterator[Path]:
    """A folder beside the output, put in its place once it is whole; else nothing is left.

    An output that ends in .zip becomes an archive, which unpacks into a folder of its name.
    """
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.with_name(f"{TEMPORARY_MARK}{secrets.token_hex(4)}-{output.name}")
    try:
        yield folder
        if output.suffix == _ZIP:
            _pack(folder, output)
            return
        if output.exists():
            shutil.rmtree(output)
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bundle_name(output: Path) -> str:
    """What a bundle is called: its folder, packed or not."""
    return output.stem if output.suffix == _ZIP else output.name


def _pack(folder: Path, output: Path) -> None:
    with atomic_path(output) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            out.write(file, f"{output.stem}/{file.relative_to(folder).as_posix()}")


def put_together(
    output: Path,
    fill_in: Callable[[Path], None],
    prove: Callable[[Path], dict[str, Any]] | None,
    readme: Callable[[Mapping[str, Any]], str],
) -> dict[str, Any]:
    """Make a bundle, prove it, and write its README with the figures of the proof.

    Args:
        output: Where it comes to lie; a bundle that is there makes way.
        fill_in: Fills the folder.
        prove: Gives the figures of the proof, or raises; None leaves the bundle unproven.
        readme: The text of docs/README.md from the figures.

    Returns:
        The figures.

    Raises:
        MedssmError: The proof failed; nothing is left at `output` that was not there before.
    """
    if prove is not None:
        proof.check_tools()
    with unfinished(output) as folder:
        fill_in(folder)
        figures: dict[str, Any] = {"proven": False}
        if prove is not None:
            say("MONAI checks the bundle and predicts with it.")
            figures = prove(folder)
        write_text(folder / "docs" / "README.md", readme(figures))
    return figures


def fill(folder: Path, parts: Parts) -> None:
    """Write configurations, metadata, weights and licences.

    Raises:
        MedssmError: The metadata lack a field that MONAI's schema demands.
    """
    for name, content in parts.configs.items():
        write_json(folder / "configs" / f"{name}.json", dict(content))
    write_text(folder / "configs" / "logging.conf", _LOGGING)
    check_metadata(parts.metadata)
    write_json(folder / "configs" / "metadata.json", dict(parts.metadata))
    (folder / "models").mkdir(parents=True, exist_ok=True)
    torch.save(dict(parts.network.state_dict()), folder / "models" / "model.pt")
    write_text(folder / "LICENSE", licence_text())
    write_text(folder / "docs" / "data_license.txt", parts.licence + "\n")


@contextmanager
def checked(folder: Path, embed: bool) -> Iterator[tuple[Path, Path | None]]:
    """A scratch folder for a proof, once MONAI has checked metadata and network of a bundle.

    Args:
        folder: The bundle.
        embed: Whether it must stand without medssm.

    Yields:
        The scratch folder, and what hides medssm from processes of the proof, if it must.

    Raises:
        MedssmError: MONAI refuses the bundle.
    """
    with tempfile.TemporaryDirectory(prefix="medssm-proof-") as name:
        scratch = Path(name)
        hidden = proof.hide_medssm(scratch / "hidden") if embed else None
        proof.verify_metadata(folder, proof.write_schema(scratch))
        proof.verify_in_out(folder, hidden)
        yield scratch, hidden
