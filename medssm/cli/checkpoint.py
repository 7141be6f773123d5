"""`medssm import checkpoint NAME FILE`: the authors' weights under our names."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssm.cli.answer import Answer, table
from medssm.core.errors import UsageError

OF_THE_DATA = ("name", "spatial_dims", "in_channels", "out_channels", "output", "grey_as_rgb")
"""Arguments of a network that a new data set decides."""


def run_import_checkpoint(arguments: argparse.Namespace) -> Answer:
    """Read, translate and write; say what happened to every key.

    Raises:
        UsageError: No file is named.
    """
    from medssm.fields.segmentation.official import import_checkpoint
    from medssm.runs.compose import parse_values

    if arguments.file is None:
        raise UsageError(
            "FILE is missing: medssm import checkpoint NAME FILE, e.g. "
            "medssm import checkpoint vm_unet best.pth"
        )
    name, file = arguments.source, Path(arguments.file)
    folder = Path(arguments.output or arguments.home / "checkpoints" / f"{name}__{file.stem}")
    hints = parse_values(arguments.overrides)
    made = import_checkpoint(name, file, folder, hints, trust=arguments.trust)
    report = made.report
    facts = {
        "network": dict(made.network),
        "parameters": made.parameters,
        "fitted": len(report.fitted),
        "copied": report.copied,
        "ignored": report.ignored,
        "fresh": report.fresh,
        "predicts": made.predicts,
    }
    rows = [[key, value] for key, value in made.network.items()]
    lines = [*table(rows, ("network", "")), f"{made.parameters:,} parameters", report.describe()]
    sizes = _overrides("network", {k: v for k, v in made.network.items() if k not in OF_THE_DATA})
    start = ("medssm", "train", "DATASET", f"network={name}", *sizes, f"init={folder}")
    predict = ("medssm", "predict", str(folder), "-i", "IMAGES", "-o", "PREDICTIONS")
    return Answer(facts, lines, [folder], predict if made.predicts else start)


def _overrides(key: str, value: Any) -> list[str]:
    """A nested value as key=value words."""
    if isinstance(value, Mapping):
        return [word for name, each in value.items() for word in _overrides(f"{key}.{name}", each)]
    return [f"{key}={json.dumps(value, separators=(',', ':'))}"]
