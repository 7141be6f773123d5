"""nnunetv2 finds data sets by environment variables: a staging folder shows it one of ours."""

import contextlib
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medssm.core.files import write_json
from medssm.core.log import detail
from medssm.data.manifest import Manifest

# the variables belong to the whole process
_LOCK = threading.Lock()
_ROOTS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def dataset_json(manifest: Manifest) -> dict[str, Any]:
    """A dataset.json that lists each case by absolute path, as stock nnU-Net reads it."""
    return {
        **manifest.content,
        "numTraining": len(manifest.cases),
        "dataset": {
            name: {"images": [str(image) for image in case.images], "label": str(case.label)}
            for name, case in manifest.cases.items()
        },
    }


@contextmanager
def staged(manifest: Manifest, fingerprint: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Let nnunetv2 see a data set that lies anywhere, for the length of a block.

    Args:
        manifest: The data set, bad cases already left out.
        fingerprint: Put where the planner reads it.

    Yields:
        The folder where nnunetv2 writes what it would write to nnUNet_preprocessed/DATASET.
    """
    root = Path(tempfile.mkdtemp(prefix="medssm-plan-"))
    with _LOCK:
        before = {name: os.environ.get(name) for name in _ROOTS}
        try:
            for name in _ROOTS:
                os.environ[name] = str(root / name)
            write_json(root / "nnUNet_raw" / manifest.name / "dataset.json", dataset_json(manifest))
            written = root / "nnUNet_preprocessed" / manifest.name
            written.mkdir(parents=True)
            if fingerprint is not None:
                write_json(written / "dataset_fingerprint.json", fingerprint)
            yield written
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            shutil.rmtree(root, ignore_errors=True)


@contextmanager
def muted() -> Iterator[None]:
    """Keep nnunetv2's prints out of our output; a verbose run shows them."""
    spoken = io.StringIO()
    with contextlib.redirect_stdout(spoken):
        yield
    for line in spoken.getvalue().splitlines():
        detail("nnunetv2: %s", line)
