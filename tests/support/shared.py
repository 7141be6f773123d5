"""The folder of real data beside the checkout; tests skip with the reason where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared_places() -> list[Path]:
    """Where the shared folder may lie, if it is there."""
    base = Path(os.environ.get("MEDSSM_SHARED", ROOT.parent / "shared"))
    return [base] if base.is_dir() else []


def shared_folder(part: str = "") -> Path:
    """The shared folder or a part of it; skips the asking test when it is not there."""
    base = Path(os.environ.get("MEDSSM_SHARED", ROOT.parent / "shared"))
    folder = base / part if part else base
    if not folder.exists():
        pytest.skip(f"needs {part or 'the shared folder'} in ../shared (or MEDSSM_SHARED)")
    return folder
