"""Run a configuration of a bundle in this process, as `python -m monai.bundle run` does."""

from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser


def run_config(bundle: Path, name: str, **settings: Any) -> ConfigParser:
    """Run configs/NAME.json with some rows of it changed; returns what was parsed."""
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / f"{name}.json")
    parser.read_meta(bundle / "configs" / "metadata.json")
    parser["bundle_root"] = str(bundle)
    parser["device"] = "cpu"
    for key, value in settings.items():
        parser[key] = value if isinstance(value, (bool, int)) else str(value)
    parser.get_parsed_content("run")
    return parser
