"""What a user may say about an archive: what is a volume, how it is stored, who works on it."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medssm.core.errors import UsageError
from medssm.core.files import digest
from medssm.core.signature import make
from medssm.data.volume_files import Codec

_SHARD = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class ArchiveConfig:
    """What counts as a volume of an archive.

    Args:
        modality: "CT" takes CT only; "any" takes every modality, what is not HU marked so;
            "auto" takes CT only where the archive has any CT.
        patient: A regular expression over the path below the source; its first group, or else
            whole match, is the patient of an image file. Without it each file is its own patient.
        block: Test cases of downstream tasks to keep out: images, folders of images, or JSON
            files that an earlier run wrote (blocked.json).
        secret: A file with the site's secret for pseudonyms; one is made under the home folder
            where none is named.
        max_missing: Slices in a row that may be missing and are interpolated.
        min_piece_mm: A series with larger gaps is split; shorter pieces are left out.
        tilt: What to do with a tilted gantry.
        lossy: What to do with pixels compressed with loss.
    """

    modality: Literal["auto", "CT", "any"] = "auto"
    patient: str | None = None
    block: tuple[str, ...] = ()
    secret: str | None = None
    max_missing: int = 1
    min_piece_mm: float = 64.0
    tilt: Literal["shear", "reject"] = "shear"
    lossy: Literal["flag", "reject"] = "flag"


@dataclass(frozen=True)
class SlurmConfig:
    """The jobs that dask-jobqueue asks Slurm for.

    Args:
        jobs: How many, each one worker.
        cores: Of a job.
        memory: Of a job, e.g. "8GB".
        walltime: Of a job.
        queue: The partition; None takes Slurm's default.
        account: Who pays; None takes Slurm's default.
    """

    jobs: int = 4
    cores: int = 1
    memory: str = "8GB"
    walltime: str = "04:00:00"
    queue: str | None = None
    account: str | None = None


@dataclass(frozen=True)
class PrepareConfig:
    """How volumes are prepared and stored, and by whom.

    Args:
        spacing_mm: Distance of voxels along every axis; null keeps the grid of the source.
        crop_body: Cut the air around the body of a CT away.
        margin_mm: Left around the body.
        min_quality: CT volumes that pass a smaller share of the checks are left out.
        codec: "lz4" for local disks, "zstd" for network storage.
        val_share: Share of the patients that is held back.
        seed: Of that choice.
        backend: Who does the work: this process, a pool of processes, or dask.
        workers: Processes of the pool or of dask's local cluster; 0 takes one a core but one.
        scheduler: Address of a running dask scheduler, e.g. tcp://host:8786.
        slurm: Jobs for the backend "slurm".
        shard: "i/n" does the i-th of n parts (i from 0), told apart by the volumes' own hashes.
        time_limit_s: A volume that takes longer is quarantined; for the process backend.
        memory_limit_gb: A volume that takes more is quarantined; for the process backend.
        max_failed_share: More quarantined volumes than this make the command fail (exit code 3).
    """

    spacing_mm: float | None = 1.5
    crop_body: bool = True
    margin_mm: float = 10.0
    min_quality: float = 0.5
    codec: Codec = "lz4"
    val_share: float = 0.05
    seed: int = 0
    backend: Literal["serial", "process", "dask", "slurm"] = "serial"
    workers: int = 0
    scheduler: str | None = None
    slurm: SlurmConfig = dataclasses.field(default_factory=SlurmConfig)
    shard: str | None = None
    time_limit_s: float = 1800.0
    memory_limit_gb: float | None = None
    max_failed_share: float = 0.05

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and not 0.1 <= self.spacing_mm <= 20:
            raise UsageError(f"preprocess.spacing_mm={self.spacing_mm}: expected 0.1 to 20, null.")
        if not 0 <= self.val_share < 1:
            raise UsageError(f"preprocess.val_share={self.val_share}: expected 0 up to below 1.")
        self.part()

    def part(self) -> tuple[int, int]:
        """Which shard of how many.

        Raises:
            UsageError: It is not written i/n with i below n.
        """
        if self.shard is None:
            return 0, 1
        match = _SHARD.fullmatch(self.shard)
        if match is None or int(match[1]) >= int(match[2]):
            raise UsageError(
                f"preprocess.shard={self.shard!r}: expected i/n with i from 0 to n-1, e.g. 0/4."
            )
        return int(match[1]), int(match[2])

    def recipe(self, modality: str) -> str:
        """A hash of what decides the content of a stored volume.

        Args:
            modality: "CT" or "any", as the plan decided.
        """
        content = (self.spacing_mm, self.crop_body, self.margin_mm, self.codec, modality)
        return digest([_RECIPE, *content])[:16]


# counted up when the code gives other voxels for the same configuration
_RECIPE = 1


# the part of `PrepareConfig` that says what the store is, and not who fills it
CONTENT = (
    "spacing_mm", "crop_body", "margin_mm", "min_quality", "codec", "val_share", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class ArchiveSettings:
    """Both halves of what a user said."""

    archive: ArchiveConfig
    preprocess: PrepareConfig


def read_settings(
    overrides: Sequence[str], before: Mapping[str, Mapping[str, Any]] | None = None
) -> ArchiveSettings:
    """Take archive.* and preprocess.* from key=value words.

    Other words are the training's, which checks them.

    Args:
        overrides: The words.
        before: What the last command said, as `remembered` gives it. It holds where no word
            speaks of archive.*, or of what the store is; so a training needs no repetition.

    Raises:
        UsageError: An unknown key, or a value of the wrong type.
    """
    from medssm.runs.compose import parse_values

    parts: dict[str, Any] = {"archive": {}, "preprocess": {}}
    values = {**parts, **parse_values([word for word in overrides if _root(word) in parts])}
    for name, value in values.items():
        if not isinstance(value, dict):
            raise UsageError(f"{name}={value!r}: expected {name}.KEY=VALUE.")
    if before is not None and not values["archive"]:
        values["archive"] = dict(before["archive"])
    if before is not None and not set(CONTENT) & values["preprocess"].keys():
        values["preprocess"] = {**before["preprocess"], **values["preprocess"]}
    return ArchiveSettings(
        make(ArchiveConfig, values["archive"], "archive"),
        make(PrepareConfig, values["preprocess"], "preprocess"),
    )


def remembered(settings: ArchiveSettings) -> dict[str, dict[str, Any]]:
    """What a later command is to know."""
    prepare = dataclasses.asdict(settings.preprocess)
    return {
        "archive": dataclasses.asdict(settings.archive),
        "preprocess": {name: prepare[name] for name in CONTENT},
    }


def _root(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]
