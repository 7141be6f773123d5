"""The report of an evaluation: numbers with intervals, pictures, plan, curves, environment."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssm.core.errors import MedssmError
from medssm.core.files import read_json
from medssm.core.log import detail
from medssm.data.readers import reader_of
from medssm.fields.segmentation.references import References
from medssm.fields.segmentation.scoring import CaseScore, measures
from medssm.metrics.masks import EMPTY_MASK_POLICY
from medssm.metrics.statistics import Interval
from medssm.reports.html import Page, Picture, Table, write_page
from medssm.reports.overlays import PALETTE, overlay_png, picture_address
from medssm.runs.manifest_of_run import environment

if TYPE_CHECKING:
    from medssm.fields.segmentation.evaluate import EvaluateConfig, EvaluateReport

_SHOWN = ("Dice", "IoU", "NSD", "HD95_mm")
# more outlines than colours would say nothing
_MOST_OUTLINES = len(PALETTE)


def write_report(
    report: "EvaluateReport", config: "EvaluateConfig", references: References
) -> None:
    """Write report.html beside summary.json."""
    model = _model_folder(config.predictions)
    ranked = sorted(report.cases, key=lambda score: score.mean("Dice"))
    outlined = _outlined(references)
    names = list(references.labels.foreground)
    page = Page(
        title=f"Segmentation report: {_dataset_name(model, references)}",
        subtitle=f"{len(report.cases)} cases, {len(names)} labels, predictions of "
        f"{config.predictions.name}",
        figures=[(_title(k), _number(k, v.mean), _range(k, v)) for k, v in report.overall.items()
                 if k in _SHOWN],
        warnings=_warnings(report),
        tables=_tables(report, ranked),
        pictures=_pictures(ranked, references, outlined, config.overlays),
        curves=_curves(model),
        definitions=_definitions(report, config),
        facts=_facts(model),
        command=_command(config),
        legend=[(PALETTE[i], name) for i, (name, _) in enumerate(outlined)],
    )  # fmt: skip
    write_page(page, report.report)


def _tables(report: "EvaluateReport", ranked: Sequence[CaseScore]) -> list[Table]:
    keys = list(report.overall)
    labels = Table(
        "By label",
        ["label", *[_title(key) for key in keys if key in _SHOWN], "present", "missed", "false"],
        [
            [
                label,
                *[_with_range(k, found[k]) for k in keys if k in _SHOWN],
                *[str(sum(s.labels[label].verdict == v for s in ranked))
                  for v in ("present", "miss", "false")],
            ]
            for label, found in report.per_label.items()
        ],
        "Mean over cases with its 95 % bootstrap interval.",
        sortable=len(report.per_label) > 5,
    )  # fmt: skip
    cases = Table(
        "By case",
        ["case", *[_title(key) for key in keys if key in _SHOWN]],
        [
            [score.case, *[_number(k, score.mean(k)) for k in keys if k in _SHOWN]]
            for score in ranked
        ],
        "Mean over labels, worst case first; a click on a column sorts. cases.csv has every label.",
        sortable=True,
    )
    tables = [labels, cases]
    if report.comparison is not None:
        both = report.comparison
        row = [
            f"{both.difference.mean:+.4f} {_range('Dice', both.difference)}",
            f"{both.p_value:.3g}", str(both.wins), str(both.losses), str(both.difference.count),
        ]  # fmt: skip
        head = ["difference in Dice", "p (Wilcoxon)", "cases better", "cases worse", "cases"]
        tables.insert(0, Table("Against the other predictions", head, [row]))
    return tables


def _outlined(references: References) -> list[tuple[str, int]]:
    labels = references.labels
    return [(name, labels.members(name)[0]) for name in labels.foreground][:_MOST_OUTLINES]


def _pictures(
    ranked: Sequence[CaseScore],
    references: References,
    outlined: Sequence[tuple[str, int]],
    worst: int,
) -> list[Picture]:
    chosen = [("Worst", score) for score in ranked[:worst]]
    if len(ranked) > worst:
        chosen.append(("Median", ranked[len(ranked) // 2]))
        chosen.append(("Best", ranked[-1]))
    pictures = []
    for title, score in chosen:
        try:
            address = _draw(score, references, [value for _, value in outlined])
        except (MedssmError, ValueError, AssertionError) as error:
            detail("no picture of %s: %s", score.case, error)
            continue
        text = f"Dice {score.mean('Dice'):.3f}, {', '.join(_by_label(score)[:4])}"
        pictures.append(Picture(address, f"{title}: {score.case}", text))
    return pictures


def _draw(score: CaseScore, references: References, values: Sequence[int]) -> str:
    truth = reader_of(score.reference).array(score.reference)
    guess = reader_of(score.prediction).array(score.prediction)
    spacing = reader_of(score.reference).header(score.reference).spacing_mm
    image = None
    file = references.images.get(score.case)
    if file is not None:
        image = reader_of(file).array(file)
        image = image if image.shape == truth.shape else None
    return overlay_png(image, truth, guess, spacing, values)


def _by_label(score: CaseScore) -> list[str]:
    return [f"{name} {each.values['Dice']:.3f}" for name, each in score.labels.items()]


def _warnings(report: "EvaluateReport") -> list[str]:
    told = []
    if report.missing:
        told.append(
            f"{len(report.missing)} references have no prediction and are not in the means: "
            f"{', '.join(report.missing)}."
        )
    told += [f"{name} could not be compared: {why}" for name, why in report.failed.items()]
    return told


def _definitions(report: "EvaluateReport", config: "EvaluateConfig") -> list[tuple[str, str]]:
    dims = 2 if any(key.startswith("Area") for key in report.overall) else 3
    rows = [
        (metric.title + (f" ({metric.unit})" if metric.unit else ""), metric.definition)
        for metric in measures(dims)
    ]
    rows.append(("Tolerance", f"{config.tolerance_mm:g} mm for the surface Dice"))
    rows.append(("Empty masks", EMPTY_MASK_POLICY))
    rows.append(("Intervals", "95 % percentile bootstrap over cases, 2000 draws, seed 0"))
    return rows


def _curves(model: Path | None) -> list[Picture]:
    if model is None:
        return []
    found = sorted(model.glob("fold_*/curves.png"))
    return [Picture(picture_address(file.read_bytes()), file.parent.name, "") for file in found]


def _facts(model: Path | None) -> list[tuple[str, list[tuple[str, str]]]]:
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    if model is not None:
        content: dict[str, Any] = read_json(model / "model.json")
        plans: dict[str, Any] = read_json(model / "plans.json")
        plan = plans["configurations"].get(content["configuration"], {})
        dataset: dict[str, Any] = read_json(model / "dataset.json")
        network = {k: v for k, v in content["network"].items() if k != "name"}
        sections.append(
            ("Data", [
                ("data set", content["dataset"]),
                ("channels", ", ".join(map(str, dataset.get("channel_names", {}).values()))),
                ("labels", ", ".join(f"{k} = {v}" for k, v in dataset["labels"].items())),
                ("training cases", str(dataset.get("numTraining", ""))),
            ])
        )  # fmt: skip
        sections.append(
            ("Model and plan", [
                ("network", content["network"]["name"]),
                ("arguments", ", ".join(f"{k}={v}" for k, v in network.items())),
                ("configuration", f"{content['plans_name']}, {content['configuration']}"),
                ("spacing", " × ".join(f"{s:g}" for s in plan.get("spacing", ())) + " mm"),
                ("patch", " × ".join(map(str, content["patch_size"]))),
                ("normalisation", ", ".join(plan.get("normalization_schemes", ()))),
                ("folds", ", ".join(sorted(f.name for f in model.glob("fold_*")))),
                ("model folder", str(model)),
            ])
        )  # fmt: skip
    where = environment()
    rows = [(name, str(value)) for name, value in where["versions"].items()]
    sections.append(("Environment", [("system", where["system"]), *rows]))
    return sections


def _model_folder(predictions: Path) -> Path | None:
    if (predictions / "model.json").is_file():
        return predictions
    for parent in predictions.parents[:2]:
        if (parent / "model.json").is_file():
            return parent
    note = predictions / "predictions.json"
    if note.is_file():
        folder = Path(str(read_json(note).get("model", "")))
        return folder if (folder / "model.json").is_file() else None
    return None


def _dataset_name(model: Path | None, references: References) -> str:
    return str(read_json(model / "model.json")["dataset"]) if model else references.source.name


def _command(config: "EvaluateConfig") -> str:
    words = ["medssm", "evaluate", str(config.predictions)]
    for flag, value in (("-r", config.references), ("-o", config.output),
                        ("--against", config.against)):  # fmt: skip
        words += [flag, str(value)] if value is not None else []
    words.append(f"tolerance_mm={config.tolerance_mm:g}")
    return shlex.join(words)


def _title(key: str) -> str:
    return {"HD95_mm": "HD95 (mm)", "NSD": "Surface Dice"}.get(key, key)


def _number(key: str, value: float) -> str:
    return f"{value:.2f}" if key.endswith("_mm") else f"{value:.3f}"


def _with_range(key: str, interval: Interval) -> str:
    return f"{_number(key, interval.mean)} {_range(key, interval)}"


def _range(key: str, interval: Interval) -> str:
    return f"[{_number(key, interval.low)}, {_number(key, interval.high)}]"
