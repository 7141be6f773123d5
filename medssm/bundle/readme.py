"""docs/README.md of a bundle: what it is, how to run it, what its proof showed."""

from collections.abc import Mapping
from typing import Any

from medssm.bundle.config_parts import Recipe

TRUST = (
    "A bundle is a program: MONAI runs the expressions in `configs/` and the code in `scripts/`, "
    "so start only what comes from somebody you trust. The weights are loaded as data."
)


def bundle_readme(
    name: str, recipe: Recipe, card: Mapping[str, Any], figures: Mapping[str, Any], embed: bool
) -> str:
    """The text of docs/README.md."""
    target = recipe.network["_target_"]
    needs = (
        "The network's code lies in `scripts/`; medssm is not needed. Start MONAI in this folder, "
        "or put the folder on PYTHONPATH. Needed are `pip install monai fire pytorch-ignite "
        "nibabel scipy scikit-image`."
        if embed
        else "The network is medssm's: `pip install 'medssm[export]'`."
    )
    anew = (
        "`configs/train.json` trains anew"
        if recipe.ignore is None
        else "there is no configuration to train anew, since labels leave voxels open and MONAI's "
        "losses do not"
    )
    case, channels = "CASE", ""
    if recipe.files > 1:
        case = "CASE_0000"
        channels = (
            f" A case is a file a channel: `CASE_0000{recipe.ending}`, `CASE_0001{recipe.ending}`."
        )
    spacing = " x ".join(f"{each:g}" for each in recipe.spacing_mm)
    patch = " x ".join(map(str, recipe.patch))
    return "\n".join(
        [
            f"# {name}",
            "",
            f"A MONAI bundle written by `medssm export`. Network: `{target}`. {needs}",
            "",
            TRUST,
            "",
            "## Run",
            "",
            "```bash",
            "python -m monai.bundle run --meta_file configs/metadata.json \\",
            "  --config_file configs/inference.json --bundle_root . --dataset_dir IMAGES "
            "--output_dir LABELS",
            "```",
            "",
            f"`configs/evaluate.json` scores against labels (`--labels_dir`), {anew}. "
            f"Images (`*{recipe.ending}`) are brought to {spacing} mm and cut into "
            f"windows of {patch} voxels; labels come back on the images' own grids, as "
            f"`{case}_seg{recipe.ending}`.{channels} The names of channels and label values are in "
            "`configs/metadata.json` (`channel_def`).",
            "",
            "## Evaluation of the training's own fold",
            "",
            *fact_rows(card, "none: the training had no validation."),
            "",
            "## Proof",
            "",
            "Taken by `medssm export` before it wrote this folder: MONAI's own checks of metadata "
            "and network, and its labels beside medssm's.",
            "",
            *fact_rows(figures, "none."),
            "",
        ]
    )


def fact_rows(facts: Mapping[str, Any], absent: str) -> list[str]:
    """Figures as the lines of a list."""
    return [f"- {key.replace('_', ' ')}: {value}" for key, value in facts.items()] or [absent]
