"""What a run leaves to read: metrics.csv without doubled rows, curves, environment, status."""

import csv
import io
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from medssm.core.files import atomic_path, write_json, write_text

_PACKAGES = ("medssm", "torch", "monai", "lightning", "nnunetv2", "numpy", "batchgeneratorsv2")
_DRAW_EVERY_S = 5.0


class MetricsFile:
    """One row an epoch; a resumed run drops the rows that it is about to write again.

    Args:
        file: metrics.csv.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, Any]] = []
        self._drawn = float("-inf")
        if file.is_file():
            with file.open(newline="", encoding="utf-8") as stream:
                self.rows = list(csv.DictReader(stream))

    def keep_until(self, epoch: int) -> None:
        """Drop rows of epochs that are not done."""
        self.rows = [row for row in self.rows if int(row["epoch"]) < epoch]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row and write the file whole."""
        self.rows.append(dict(row))
        names = list(dict.fromkeys(name for each in self.rows for name in each))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.file, text.getvalue())

    def draw(self, picture: Path, at_once: bool) -> None:
        """Draw the curves, at most every few seconds: a picture costs more than a short epoch."""
        if at_once or time.monotonic() - self._drawn > _DRAW_EVERY_S:
            draw_curves(self.rows, picture)
            self._drawn = time.monotonic()


def draw_curves(rows: list[dict[str, Any]], file: Path) -> None:
    """Draw losses, scores and the learning rate over epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for axes, chosen, title in (
        (left, [n for n in rows[-1] if "loss" in n], "loss"),
        (right, [n for n in rows[-1] if n.startswith("dice")], "quick validation, Dice"),
    ):
        for name in chosen:
            points = [
                (int(r["epoch"]), float(r[name])) for r in rows if r.get(name) not in ("", None)
            ]
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1.4)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if chosen:
            axes.legend(fontsize=8)
    with atomic_path(file) as partial:
        figure.savefig(partial, dpi=110)


def write_environment(file: Path) -> None:
    """Note what computed: versions, device, threads, code."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    cuda = torch.cuda.is_available()
    write_json(
        file,
        {
            "python": sys.version.split()[0],
            "packages": versions,
            "machine": platform.platform(),
            "processor": processor_name(),
            "cpu_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(0) if cuda else None,
            "code": _code_version(),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "host_cpus": os.cpu_count(),
        },
    )


def processor_name() -> str:
    """The processor's name, as far as the system says it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _code_version() -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
