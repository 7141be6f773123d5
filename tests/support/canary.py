"""A canary file, payloads that would make it, and the unsafe readers that prove they would."""

import io
import logging.config
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from pathlib import Path, PureWindowsPath
from typing import Any

import torch

_UNPICKLE = """
import io, pickle, sys, zipfile
content = open(sys.argv[1], 'rb').read()
offset = int(sys.argv[2])
if zipfile.is_zipfile(io.BytesIO(content)) and offset == 0:
    archive = zipfile.ZipFile(io.BytesIO(content))
    (name,) = [each for each in archive.namelist() if each.endswith(('data.pkl', '.npy'))]
    content = archive.read(name)
start = content.index(b'\\x80', 10) if content.startswith(b'\\x93NUMPY') else offset
class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        # the payload comes first; to import torch for what follows it would only cost time
        return print if module.startswith('torch') else super().find_class(module, name)
    def persistent_load(self, key):
        return None
Unpickler(io.BytesIO(content[start:])).load()
"""


class Payload:
    """Unpickling it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"open({str(self.canary)!r}, 'w').close()",)


def code(canary: Path) -> str:
    """An expression that makes the canary."""
    return f"__import__('pathlib').Path({str(canary)!r}).touch()"


def pickled(canary: Path) -> bytes:
    """A pickle that makes the canary."""
    return pickle.dumps(Payload(canary))


def checkpoint(canary: Path, **content: Any) -> bytes:
    """What torch.save writes of weights with the payload before them."""
    buffer = io.BytesIO()
    torch.save({"payload": Payload(canary), "w": torch.ones(2), **content}, buffer)
    return buffer.getvalue()


def fires_unpickled(file: Path, canary: Path, offset: int = 0) -> None:
    """Prove that unpickling a file makes the canary; it is removed again."""
    command = [sys.executable, "-c", _UNPICKLE, str(file), str(offset)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    gone(canary, done.stderr)


def fires_logging(file: Path, canary: Path) -> None:
    """Prove that Python's own reader of logging.conf makes the canary."""
    kept = logging.root.handlers[:], logging.root.level
    try:
        logging.config.fileConfig(file, disable_existing_loggers=False)
    finally:
        for handler in logging.root.handlers:
            if handler not in kept[0]:
                handler.close()
        logging.root.handlers[:], logging.root.level = kept
    gone(canary, "")


def gone(canary: Path, told: str) -> None:
    """The canary was there, and is removed."""
    assert canary.exists(), told
    canary.unlink()


def logging_conf(canary: Path) -> str:
    """A logging.conf whose handler's arguments are code."""
    return (
        "[loggers]\nkeys=root\n[handlers]\nkeys=out\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=INFO\nhandlers=out\n"
        f"[handler_out]\nclass=StreamHandler\nargs=({code(canary)} or None,)\n"
    )


def naive_unpack(archive: Path, folder: Path) -> None:
    """Unpack as careless programs do: names are joined, links are made, Windows' slashes count."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            name = member.orig_filename
            parts = PureWindowsPath(name).parts if "\\" in name or ":" in name else (name,)
            target = Path(os.path.normpath(folder.joinpath(*parts)))
            target.parent.mkdir(parents=True, exist_ok=True)
            content = opened.read(member)
            if stat.S_ISLNK(member.external_attr >> 16):
                target.symlink_to(content.decode())
            else:
                target.write_bytes(content)
