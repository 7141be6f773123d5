"""Run a configuration of a bundle in this process, as `python -m monai.bundle run` does."""

from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow


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


def missing_properties(bundle: Path, name: str, kind: str, **settings: Any) -> list[str]:
    """The properties that MONAI asks of a workflow ("infer" or "train") and does not find."""
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / f"{name}.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        bundle_root=str(bundle),
        **{key: str(value) for key, value in settings.items()},
    )
    workflow.initialize()
    return list(workflow.check_properties() or ())
