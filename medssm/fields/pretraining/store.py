"""The store of an archive, as training opens it."""

from medssm.core.errors import BadDataError
from medssm.data.volume_store import VolumeStore
from medssm.runs.workspace import Workspace


def open_store(workspace: Workspace, memory_map: bool = False) -> VolumeStore:
    """The prepared volumes of a data set.

    Args:
        workspace: Of the data set.
        memory_map: Let the system map the files; for local disks whose data stays in memory.

    Raises:
        BadDataError: It was not preprocessed yet, or no volume of it is usable.
    """
    store = VolumeStore(workspace.preprocessed, memory_map)
    if not store.volumes:
        raise BadDataError(
            f"{workspace.preprocessed}: no volume is usable; report.json counts the reasons."
        )
    return store
