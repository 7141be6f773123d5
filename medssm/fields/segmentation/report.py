"""The report of an evaluation: numbers with intervals, pictures, plan, curves, environment."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssm.core.errors import MedssmError
from medssm.core.files import read_json
from medssm.core.log import detail
from medssm.data.readers import reader_of
from medssm.fields.segmentation.published_scores import PublishedScores
from medssm.fields.segmentation.references import References
from medssm.fields.segmentation.scores_file import count_verdicts
from medssm.fields.segmentation.scoring import CaseScore
from medssm.metrics import METRICS
from medssm.metrics.masks import EMPTY_MASK_POLICY
from medssm.metrics.statistics import Interval
from medssm.reports.card import write_card
from medssm.reports.html import Page, Picture, Table, write_page
from medssm.reports.overlays import PALETTE, overlay_png, picture_address
from medssm.runs.manifest_of_run import environment

if TYPE_CHECKING:
    from medssm.fields.segmentation.evaluate import EvaluateConfig, EvaluateReport

_SHOWN = ("Dice", "IoU", "NSD", "HD95_mm")
# more outlines than colours would say nothing
_MOST_OUTLINES = len(PALETTE)
# a wider table than a page is read by nobody
_MOST_COLUMNS = 12


def write_report(
    report: "EvaluateReport", config: "EvaluateConfig", references: References
) -> None:
    """Write report.html beside summary.json, and model_card.md where the model is known."""
    model = _model_folder(config.predictions)
    ranked = sorted(report.cases, key=lambda score: score.mean("Dice"))
    outlined = _outlined(references, ranked)
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
        legend=[(PALETTE[i], name) for i, name in enumerate(outlined)],
    )  # fmt: skip
    write_page(page, report.report)
    if model is not None:
        write_card(page, report.report.with_name("model_card.md"))


def _tables(report: "EvaluateReport", ranked: Sequence[CaseScore]) -> list[Table]:
    tables = [_label_table(report), _case_table(report, ranked)]
    names = report.labels.foreground
    if 1 < len(names) <= _MOST_COLUMNS:
        rows = [
            [score.case, *[f"{score.labels[name].values['Dice']:.3f}" for name in names]]
            for score in ranked
        ]
        note = "Dice of every label in every case."
        tables.append(Table("By case and label", ["case", *names], rows, note, sortable=True))
    if report.as_published:
        tables.insert(1, _published_table(report.as_published))
    if report.comparisons:
        tables.insert(1, _comparison_table(report))
    return tables


def _label_table(report: "EvaluateReport") -> Table:
    keys = [key for key in report.overall if key in _SHOWN]
    verdicts = count_verdicts(report.labels.foreground, report.cases)
    return Table(
        "By label",
        ["label", *map(_title, keys), "median Dice", "present", "missed", "false", "both empty"],
        [
            [
                label,
                *[_with_range(key, found[key]) for key in keys],
                _number("Dice", found["Dice"].median),
                *[str(verdicts[label][v]) for v in ("present", "miss", "false", "both_empty")],
            ]
            for label, found in report.per_label.items()
        ],
        "Mean over cases with its 95 % bootstrap interval, then in how many cases the label is in "
        "both masks, in the reference alone, in the prediction alone, in neither.",
        sortable=len(report.per_label) > 1,
    )


def _case_table(report: "EvaluateReport", ranked: Sequence[CaseScore]) -> Table:
    keys = [key for key in report.overall if key in _SHOWN]
    return Table(
        "By case",
        ["case", *map(_title, keys)],
        [[score.case, *[_number(key, score.mean(key)) for key in keys]] for score in ranked],
        "Mean over labels, worst case first; a click on a column sorts. cases.csv has every label "
        "and every measure.",
        sortable=True,
    )


def _comparison_table(report: "EvaluateReport") -> Table:
    head = ["label", "measure", "difference", "p (Wilcoxon)", "higher", "lower", "cases"]
    labels = ["mean", *report.labels.foreground]
    rows = [
        [
            label, _title(key), f"{both.difference.mean:+.4f} {_range(key, both.difference)}",
            f"{both.p_value:.2g}", str(both.wins), str(both.losses), str(both.difference.count),
        ]
        for label in labels
        for key, both in report.comparisons[label].items()
    ]  # fmt: skip
    return Table(
        "Against the other predictions",
        head,
        rows,
        "These predictions less the others, case by case: mean with its 95 % bootstrap interval, "
        "and Wilcoxon's signed-rank test (two-sided, not corrected for the number of rows). Of "
        "HD95 less is better, of the others more.",
        sortable=True,
    )


def _published_table(scores: PublishedScores) -> Table:
    rows = [
        [label, *[f"{value:.4g}" for value in found.values()]]
        for label, found in {**scores.labels, "mean": scores.mean}.items()
    ]
    title = f"As the papers on {scores.convention} count"
    note = f"To lay beside published figures only. {scores.definition}"
    return Table(title, ["label", *scores.mean], rows, note)


def _outlined(references: References, ranked: Sequence[CaseScore]) -> list[str]:
    """The labels that pictures show: all, or the largest where colours would run out."""
    size = {
        name: sum(score.labels[name].counts["n_ref"] for score in ranked)
        for name in references.labels.foreground
    }
    largest = sorted(size, key=lambda name: -size[name])[:_MOST_OUTLINES]
    return [name for name in size if name in largest]


def _pictures(
    ranked: Sequence[CaseScore],
    references: References,
    outlined: Sequence[str],
    worst: int,
) -> list[Picture]:
    # where cases are few, one is called by what it tells most
    median, best = len(ranked) // 2, len(ranked) - 1
    titles = dict.fromkeys(range(min(worst, len(ranked))), "Worst")
    titles |= {index: name for index, name in ((median, "Median"), (best, "Best")) if index}
    chosen = [(titles[index], ranked[index]) for index in sorted(titles)]
    pictures = []
    for title, score in chosen:
        try:
            address = _draw(score, references, outlined)
        except (MedssmError, ValueError, AssertionError) as error:
            detail("no picture of %s: %s", score.case, error)
            continue
        text = f"Dice {score.mean('Dice'):.3f}, {', '.join(_by_label(score)[:4])}"
        pictures.append(Picture(address, f"{title}: {score.case}", text))
    return pictures


def _draw(score: CaseScore, references: References, names: Sequence[str]) -> str:
    truth = reader_of(score.reference).array(score.reference)
    guess = reader_of(score.prediction).array(score.prediction)
    spacing = reader_of(score.reference).header(score.reference).spacing_mm
    image = None
    file = references.images.get(score.case)
    if file is not None:
        image = reader_of(file).array(file)
        image = image if image.shape == truth.shape else None
    labels = references.labels
    outlines = [(labels.mask(truth, name), labels.mask(guess, name)) for name in names]
    return overlay_png(image, outlines, spacing)


def _by_label(score: CaseScore) -> list[str]:
    return [f"{name} {each.values['Dice']:.3f}" for name, each in score.labels.items()]


def _warnings(report: "EvaluateReport") -> list[str]:
    told = []
    if report.missing:
        told.append(
            f"No prediction, and so not in the means, for {len(report.missing)} reference(s): "
            f"{', '.join(report.missing)}."
        )
    told += [f"{name} could not be compared: {why}" for name, why in report.failed.items()]
    return told


def _definitions(report: "EvaluateReport", config: "EvaluateConfig") -> list[tuple[str, str]]:
    rows = [
        (metric.title + (f" ({metric.unit})" if metric.unit else ""), metric.definition)
        for metric in [METRICS.load(name) for name in METRICS]
        if metric.key in report.overall
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
    words += [f"convention={config.convention}"] if config.convention else []
    return shlex.join(words)


def _title(key: str) -> str:
    return {"HD95_mm": "HD95 (mm)", "NSD": "Surface Dice"}.get(key, key)


def _number(key: str, value: float) -> str:
    return f"{value:.2f}" if key.endswith("_mm") else f"{value:.3f}"


def _with_range(key: str, interval: Interval) -> str:
    return f"{_number(key, interval.mean)} {_range(key, interval)}"


def _range(key: str, interval: Interval) -> str:
    return f"[{_number(key, interval.low)}, {_number(key, interval.high)}]"
