"""docs/README.md of a bundle whose network answers about whole cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medssm.bundle.readme import TRUST, fact_rows

# what `python -m monai.bundle` itself needs beside MONAI
_TOOLS = ("torch", "monai", "pytorch-ignite", "fire")


@dataclass(frozen=True)
class Page:
    """What the README tells.

    Args:
        name: Of the bundle.
        task: In a sentence.
        network: Class of the network as the configurations call it.
        embed: Whether the code of the network lies in the bundle.
        packages: Version of every package that the bundle needs, by name.
        takes: What a user gives, as paragraphs.
        gives: What comes out, as paragraphs.
        teaching: How the network goes on from here, as paragraphs under `heading`.
        card: Evaluation figures of the training's own fold.
        heading: See `teaching`.
    """

    name: str
    task: str
    network: str
    embed: bool
    packages: Mapping[str, str]
    takes: Sequence[str]
    gives: Sequence[str]
    teaching: Sequence[str]
    card: Mapping[str, Any]
    heading: str = "Evaluate and train"

    def text(self, figures: Mapping[str, Any]) -> str:
        """The page, with the figures of the proof."""
        lines = [
            f"# {self.name}",
            f"{self.task} A MONAI bundle written by `medssm export`. Network: `{self.network}`. "
            "Research only; no medical device.",
            TRUST,
            "## Install",
            *self._install(),
            "## Run",
            "In this folder:",
            "```bash\n"
            "python -m monai.bundle run --meta_file configs/metadata.json \\\n"
            "  --config_file configs/inference.json --bundle_root . --dataset_dir INPUT "
            "--output_dir OUTPUT\n```",
            *self.takes,
            "## What comes out",
            *self.gives,
            "A case that cannot be read costs only itself: its .json says why under `problem`, and "
            "it has no row in the table.",
            f"## {self.heading}",
            *self.teaching,
            "## Evaluation of the training's own fold",
            "\n".join(fact_rows(self.card, "none: the training had no validation.")),
            "## Proof",
            "Taken by `medssm export` before it wrote this folder: MONAI's own checks of metadata "
            "and network, and what it says of cases beside what `medssm predict` says.",
            "\n".join(fact_rows(figures, "none.")),
        ]
        return "\n\n".join(lines) + "\n"

    def _install(self) -> list[str]:
        tools = [name for name in _TOOLS if name not in self.packages]
        words = [f"'{name}>={version}'" for name, version in self.packages.items() if version]
        unknown = [name for name, version in self.packages.items() if not version]
        command = " ".join(["pip install", *tools, *words, *unknown])
        told = (
            "All code that is not in these packages lies in `scripts/`; medssm is not needed. "
            "Start MONAI in this folder, or put the folder on PYTHONPATH."
            if self.embed
            else "The network and the reading of its input are medssm's."
        )
        return [f"```bash\n{command}\n```", told]


FINETUNING = (
    "`train.json` goes on from `models/model.pt`, or starts anew with `--finetune False`; it holds "
    "back every fifth case, and writes the weights with the least loss on those to "
    "`models/model_trained.pt`. A case that cannot be read stops it."
)


def labelled_commands(train: bool) -> str:
    """How evaluation and training are started."""
    evaluate = (
        "python -m monai.bundle run --meta_file configs/metadata.json \\\n"
        "  --config_file configs/evaluate.json --bundle_root . --dataset_dir INPUT "
        "--labels_file labels.csv --output_dir OUTPUT\n"
    )
    taught = (
        "python -m monai.bundle run --meta_file configs/metadata.json \\\n"
        "  --config_file configs/train.json --bundle_root . --dataset_dir INPUT "
        "--labels_file labels.csv --epochs 50\n"
    )
    return f"```bash\n{evaluate}{taught if train else ''}```"
