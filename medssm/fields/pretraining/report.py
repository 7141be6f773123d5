"""The report of a pre-training: what was learned, from how much of the archive, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssm.core.files import read_json
from medssm.fields.pretraining.model_folder import FOLD
from medssm.fields.pretraining.task import PICTURES
from medssm.reports.html import Page, Picture, Table, write_page
from medssm.reports.overlays import picture_address
from medssm.runs.manifest_of_run import environment

if TYPE_CHECKING:
    from medssm.fields.pretraining.evaluate import EvaluateConfig, Scores

_DEFINITIONS = (
    ("masked loss", "mean squared error over hidden cells, each normalised by its own mean and "
     "deviation; constant cells are left out"),
    ("mean prediction", "the same for predicting each cell's own mean: close to 1"),
    ("constant cells", "share of hidden cells without variation, such as air at the window's end"),
    ("spread", "deviation of embeddings between volumes over the mean length of a vector; 0 is a "
     "collapse"),
    ("cosine", "mean cosine of the embeddings of two different volumes; 1 is a collapse"),
    ("effective rank", "exponent of the entropy of the embeddings' singular values"),
)  # fmt: skip
_EPOCHS_SHOWN = 4


def write_report(
    scores: "Scores", facts: Mapping[str, Any], folder: Path, file: Path, config: "EvaluateConfig"
) -> None:
    """Write report.html; what the model folder no longer has is left out."""
    model = Path(scores.content["model"])
    cases = scores.content["cases"]
    ranked = sorted(cases, key=lambda name: -(cases[name]["ratio"] or 0))
    page = Page(
        title=f"Pre-training report: {scores.content['dataset']}",
        subtitle=f"{len(cases)} volumes, {100 * scores.content['mask_ratio']:.0f} % hidden, "
        f"predictions of {folder.name}",
        figures=[
            ("masked loss / mean prediction", f"{scores.ratio.mean:.3f}", _range(facts["ratio"])),
            ("constant cells", f"{scores.skipped.mean:.3f}", _range(facts["skipped"])),
            ("crops a second", f"{scores.throughput:.2f}", ""),
        ],
        warnings=_warnings(scores, facts),
        tables=[*_archive(model), _volumes(cases, ranked)],
        pictures=[
            Picture(
                picture_address((folder / f"{name}.png").read_bytes()), name,
                f"loss {cases[name]['ratio'] or 0:.3f} of predicting the mean",
            )
            for name in _spread(ranked, config.pictures)
            if (folder / f"{name}.png").is_file()
        ],
        curves=_curves(model),
        definitions=_DEFINITIONS,
        facts=_facts(model, facts),
        command=f"medssm evaluate {folder}",
    )  # fmt: skip
    write_page(page, file)


def _range(interval: Mapping[str, float]) -> str:
    return f"{interval['low']:.3f} to {interval['high']:.3f}"


def _warnings(scores: "Scores", facts: Mapping[str, Any]) -> list[str]:
    told = [f"{name}: {why}" for name, why in facts["failed"].items()]
    if scores.ratio.mean > 1:
        told.append("The network is worse than predicting each cell's mean: it has not learned.")
    if scores.sanity and scores.sanity["spread"] < 1e-3:
        told.append("All volumes have nearly the same embedding: the encoder has collapsed.")
    return told


def _archive(model: Path) -> list[Table]:
    """How much of the archive was used, and why the rest was not."""
    file = model / "report.json"
    if not file.is_file():
        return []
    told = read_json(file)
    rows = [
        ["files of the archive", str(told.get("files", ""))],
        ["files used", str(told.get("files_used", ""))],
        ["volumes found", str(told.get("volumes", ""))],
        ["volumes used", f"{told.get('used', '')} ({told.get('train')} to learn from, "
         f"{told.get('val')} held back)"],
    ]  # fmt: skip
    tables = [Table("The archive", ("what", "count"), rows)]
    reasons = [
        [kind, reason, str(count)]
        for kind, key in (("file", "files_left_out"), ("volume", "volumes_left_out"))
        for reason, count in sorted(told.get(key, {}).items())
    ]
    if reasons:
        note = "ledger.csv in the preprocessed folder names every one of them."
        header = ("of", "reason", "count")
        tables.append(Table("Why the rest was not used", header, reasons, note))
    return tables


def _volumes(cases: Mapping[str, Any], ranked: Sequence[str]) -> Table:
    rows = [
        [
            name, f"{cases[name]['ratio'] or float('nan'):.4f}",
            f"{cases[name]['skipped_cells']:.3f}", str(cases[name]["crops"]),
            f"{cases[name]['seconds']:.2f}",
        ]
        for name in ranked
    ]  # fmt: skip
    header = ("volume", "loss / mean prediction", "constant cells", "crops", "seconds")
    return Table("Volumes, worst first", header, rows, sortable=True)


def _spread(ranked: Sequence[str], count: int) -> list[str]:
    """So many names, evenly from the worst to the best."""
    if count >= len(ranked) or count < 2:
        return list(ranked[:count])
    return [ranked[round(i * (len(ranked) - 1) / (count - 1))] for i in range(count)]


def _curves(model: Path) -> list[Picture]:
    fold = model / FOLD
    found = []
    if (fold / "curves.png").is_file():
        png = (fold / "curves.png").read_bytes()
        found.append(Picture(picture_address(png), "training", "loss and validation by epoch"))
    epochs = sorted((fold / PICTURES).glob("epoch_*.png"))
    for file in _spread([str(each) for each in epochs], _EPOCHS_SHOWN):
        path = Path(file)
        title = path.stem.replace("_", " ")
        found.append(Picture(picture_address(path.read_bytes()), title, "held-back crops"))
    return found


def _facts(
    model: Path, facts: Mapping[str, Any]
) -> list[tuple[str, list[tuple[str, str]]]]:  # fmt: skip
    sections = [("embeddings", [(k, f"{v:.4f}") for k, v in facts["embeddings"].items()])]
    for title, file in (
        ("model", model / "model.json"),
        ("training", model / FOLD / "validation.json"),
    ):
        if file.is_file():
            sections.append((title, [(k, str(v)) for k, v in read_json(file).items()]))
    sections.append(("environment", [(k, str(v)) for k, v in environment().items()]))
    return [(title, rows) for title, rows in sections if rows]
