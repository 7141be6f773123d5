"""What comes from outside stays data: no expressions in it, and no names that leave a folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError

# keys by which MONAI and Hydra make objects
_MAKERS = ("_target_", "_disabled_", "_requires_", "_desc_", "_mode_", "_partial_", "_recursive_")
# MONAI's macro: another file's content in place of a text
_MACRO = re.compile(r"^%.*\.(json|ya?ml)", re.DOTALL)
_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f]|^\.{1,2}$|^[A-Za-z]:|^$")
_ENDING = re.compile(r"(\.\w+){1,3}")


def refuse_expressions(content: Any, file: Path | str) -> None:
    """Keep out what other programs would evaluate, at any depth.

    Args:
        content: Plain data as JSON gives it.
        file: Where it comes from.

    Raises:
        BadDataError: A key such as ``_target_``, a text that begins with ``$``, one with
            ``${...}`` in it, or one that asks for another file; the message names its place.
            Or it is nested beyond what can be looked at.
    """
    try:
        found = _expression(content, "")
    except RecursionError:
        raise BadDataError(
            f"{file}: nested too deeply. Expected plain data; do not use the file."
        ) from None
    if found is not None:
        place, text = found
        raise BadDataError(
            f"{file}: {place or 'the content'} holds {text!r}. Expected plain data: medssm runs "
            "nothing that a file asks for. Take it out, or do not use the file."
        )


def _expression(content: Any, place: str) -> tuple[str, str] | None:
    if isinstance(content, Mapping):
        for key, value in content.items():
            text = str(key)
            inner = f"{place}.{text}" if place else text
            # editors look a schema up, and nobody runs it
            if text in _MAKERS or (_asks(text) and text != "$schema"):
                return inner, text
            if (found := _expression(value, inner)) is not None:
                return found
    elif isinstance(content, (list, tuple)):
        for index, value in enumerate(content):
            if (found := _expression(value, f"{place}[{index}]")) is not None:
                return found
    elif isinstance(content, str) and _asks(content):
        return place, content if len(content) <= 60 else f"{content[:57]}..."
    return None


def _asks(text: str) -> bool:
    return text.startswith("$") or "${" in text or bool(_MACRO.match(text))


def file_name(name: object, what: str, file: Path | str) -> str:
    """A name out of a file that is to become part of a path.

    Args:
        name: As the file has it.
        what: How to call it, e.g. "data_identifier".
        file: Where it comes from.

    Raises:
        BadDataError: It is no text, or would lead out of the folder it is meant for.
    """
    if not isinstance(name, str) or _UNFIT.search(name):
        raise BadDataError(
            f"{file}: {what} is {name!r}. Expected one name without / or \\ and not '..': it "
            "becomes a file's name."
        )
    return name


def file_ending(ending: object, file: Path | str) -> str:
    """The ending of images as a file declares it.

    Raises:
        BadDataError: It is no ending such as ".nii.gz".
    """
    if not isinstance(ending, str) or not _ENDING.fullmatch(ending):
        raise BadDataError(f'{file}: file_ending is {ending!r}. Expected such as ".nii.gz".')
    return ending
