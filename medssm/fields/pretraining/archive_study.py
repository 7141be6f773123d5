"""One archive at work: its folder, what was said about it, and the site's pseudonyms."""

import json
from dataclasses import dataclass
from pathlib import Path

from medssm.core.files import read_json, write_json
from medssm.data.pseudonyms import Pseudonyms, open_pseudonyms
from medssm.fields.pretraining.archive_config import (
    ArchiveSettings,
    read_settings,
    remembered,
)
from medssm.runs.datasets import source_of
from medssm.runs.field import StudyRequest
from medssm.runs.workspace import Workspace, open_workspace

SETTINGS = "settings.json"
"""What the last command said of an archive."""


@dataclass(frozen=True)
class ArchiveStudy:
    """An archive with what a user said about it.

    Args:
        workspace: Where its data and what is made of it lie.
        source: The folder of the archive.
        settings: Both halves of the configuration.
        pseudonyms: The site's.
        force: Do again what is there already.
    """

    workspace: Workspace
    source: Path
    settings: ArchiveSettings
    pseudonyms: Pseudonyms
    force: bool = False

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.workspace.preprocessed

    def remember(self) -> None:
        """Let the next command know what this one was told."""
        file, content = self.folder / SETTINGS, remembered(self.settings)
        if not file.is_file() or read_json(file) != json.loads(json.dumps(content)):
            write_json(file, content)

    @property
    def catalogue(self) -> Path:
        """The parts of the scan; they name paths."""
        return self.folder / "private" / "catalogue"


def open_study(request: StudyRequest) -> ArchiveStudy:
    """Find the data set and check what was said about it.

    Raises:
        UsageError: No such data set, or a word that nobody reads.
        BadDataError: Its source is gone.
    """
    workspace = open_workspace(request.dataset, request.home)
    file = workspace.preprocessed / SETTINGS
    settings = read_settings(request.overrides, read_json(file) if file.is_file() else None)
    pseudonyms = open_pseudonyms(workspace.home, settings.archive.secret)
    return ArchiveStudy(workspace, source_of(workspace), settings, pseudonyms, request.force)
