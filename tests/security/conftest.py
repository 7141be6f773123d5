"""The canary, which no attack may make, and the home that commands work in."""

import os
from pathlib import Path

import pytest

from medssm.cli.main import main


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that only a payload makes."""
    return tmp_path / "canary"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty home; gives exit code and what was said."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def call(*words):
        code = main([*map(str, words), "--home", str(tmp_path / "home")])
        spoken = capsys.readouterr()
        assert "Traceback" not in spoken.err
        return code, spoken.out + spoken.err

    return call


@pytest.fixture
def tree(tmp_path):
    """Every file below the test's folder, to see what an attack has added."""

    def listed():
        return {os.path.relpath(path, tmp_path) for path in tmp_path.rglob("*") if path.is_file()}

    return listed
