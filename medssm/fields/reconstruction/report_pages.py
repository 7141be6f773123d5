"""What an evaluation puts into its report: the worst and the best slices, tables with intervals."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medssm.core.files import read_json
from medssm.fields.reconstruction.case_scores import CaseImages, CaseScores
from medssm.fields.reconstruction.prediction_record import Record
from medssm.fields.reconstruction.report import ReportContent, ReportImage, write_report
from medssm.fields.reconstruction.summary import SHOWN, Summary, number, title_of
from medssm.metrics.reconstruction import CONVENTIONS
from medssm.metrics.statistics import Comparison, Interval
from medssm.reports.html import Picture, Table
from medssm.reports.overlays import picture_address
from medssm.runs.manifest_of_run import environment

if TYPE_CHECKING:
    from medssm.fields.reconstruction.evaluate import EvaluateConfig

_RANKED_BY = "fastmri.foreground.ssim"
_MOST_CURVES = 2


class ReportMaker:
    """Collects while cases are scored; of their images it keeps a few slices only.

    Args:
        shown: How many slices to keep.
    """

    def __init__(self, shown: int) -> None:
        self.shown = shown
        self.kept: list[tuple[float, ReportImage]] = []
        self.best: tuple[float, ReportImage] | None = None
        self.cases: list[CaseScores] = []

    def consider(self, scores: CaseScores, images: CaseImages, method: str) -> None:
        """Keep the worst slice of a case if it is among the worst, or its best as the best."""
        self.cases.append(scores)
        values = _ranks(scores, method, len(next(iter(images.stacks.values()))))
        low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
        self.kept.append((values[low], _image(scores, images, low, values[low])))
        self.kept = sorted(self.kept, key=lambda each: each[0])[: self.shown]
        if (self.best is None or values[high] > self.best[0]) and low != high:
            self.best = (values[high], _image(scores, images, high, values[high]))

    def images(self) -> list[ReportImage]:
        """The slices to show, the worst first."""
        worst = [image for _, image in self.kept]
        return [*worst[: max(0, self.shown - 1)], self.best[1]] if self.best else worst

    def write(
        self, config: "EvaluateConfig", record: Record, summary: Summary, failed: Mapping[str, str]
    ) -> Path:
        """Write the report."""
        shown = [name for name in SHOWN if name in summary.measures]
        content = ReportContent(
            title=f"Reconstruction report: {record.method}",
            subtitle=f"{len(self.cases)} volumes of {record.folder.name}",
            figures=_figures(summary, shown),
            warnings=_warnings(config, summary, failed, self.cases),
            tables=_tables(summary, self.cases),
            images=self.images(),
            curves=_curves(self.cases),
            training=_training(record),
            definitions=_definitions(),
            facts=_facts(record),
            command=_command(config),
        )
        return write_report(config.folder, content)


def _ranks(scores: CaseScores, method: str, count: int) -> np.ndarray:
    values = np.array(scores.per_slice.get(method, {}).get(_RANKED_BY, []), dtype=float)
    if len(values) == count and np.isfinite(values).any():
        return values
    # without a reference no slice is worse than another
    return -np.abs(np.arange(count) - count // 2).astype(float)


def _image(scores: CaseScores, images: CaseImages, place: int, value: float) -> ReportImage:
    known = "reference" in images.stacks
    return ReportImage(
        scores.case,
        scores.slices[place],
        {name: np.array(stack[place]) for name, stack in images.stacks.items()},
        images.mask,
        images.maps,
        None if images.uncertainty is None else np.array(images.uncertainty[place]),
        f"{title_of(_RANKED_BY)} {value:.4f}" if known else "no reference",
    )


def _figures(summary: Summary, shown: Sequence[str]) -> list[tuple[str, str, str]]:
    values = summary.means.get(summary.method, {})
    found = [(title_of(name), number(name, values[name].mean), _range(name, values[name]))
             for name in shown if name in values]  # fmt: skip
    if summary.method in summary.withheld:
        each = summary.withheld[summary.method]
        text = f"[{each.low:.4f}, {each.high:.4f}], zero-filled = 1"
        found.append(("error on withheld samples", f"{each.mean:.4f}", text))
    if "within_2" in summary.calibration:
        share = f"{summary.calibration['within_2']:.1%}"
        found.append(("errors within two stated deviations", share, "95 % of a normal error"))
    if summary.factor:
        told = f"{summary.factor['within_2_after']:.1%}"
        found.append(("with a factor of other patients", told, "stored in the model folder"))
    return found


def _range(name: str, each: Interval) -> str:
    return f"[{number(name, each.low)}, {number(name, each.high)}]"


def _warnings(
    config: "EvaluateConfig",
    summary: Summary,
    failed: Mapping[str, str],
    cases: Sequence[CaseScores],
) -> list[str]:
    told = [f"{name} is in no figure: {why}" for name, why in failed.items()]
    told += [note for case in cases for note in case.notes]
    if config.tune.startswith("oracle") and len(config.baselines) > 1:
        told.append(
            "Baselines are tuned by an oracle: their options fit the reference of every slice best,"
            " which no user could do. It is the hardest comparison for the predictions."
        )
    if summary.withheld:
        told.append(
            "Volumes without a reference have no SSIM or PSNR; their figure is the relative error "
            "on acquired samples that a second reconstruction did not see."
        )
    return told


def _tables(summary: Summary, cases: Sequence[CaseScores]) -> list[Table]:
    tables = []
    if summary.means:
        for convention, each in CONVENTIONS.items():
            names = [name for name in summary.measures if name.startswith(f"{convention}.")]
            rows = [
                [method, *[f"{number(n, found[n].mean)} {_range(n, found[n])}" for n in names]]
                for method, found in summary.means.items()
            ]
            note = f"{each.definition}. Mean over volumes, 95 % bootstrap interval."
            head = ["method", *[title_of(name) for name in names]]
            tables.append(Table(f"By method, as {each.title} counts", head, rows, note))
    if summary.withheld:
        rows = [[name, f"{e.mean:.4f}", f"[{e.low:.4f}, {e.high:.4f}]", str(e.count)]
                for name, e in summary.withheld.items()]  # fmt: skip
        head = ["method", "mean", "95 % interval", "volumes"]
        note = "||predicted - measured|| / ||measured|| over samples held back; zero-filled is 1."
        tables.append(Table("Error on withheld samples", head, rows, note))
    for name, found in summary.baselines.items():
        tables += _comparison(f"Against {name}", found)
    if summary.against is not None:
        tables += _comparison(f"Against {summary.against[0]} (--against)", summary.against[1])
    tables += _case_tables(summary, cases)
    return tables


def _comparison(title: str, found: Mapping[str, Comparison]) -> list[Table]:
    rows = [
        [title_of(name), number(name, each.difference.mean), _range(name, each.difference),
         f"{each.wins}:{each.losses}", f"{each.p_value:.3g}"]
        for name, each in found.items()
    ]  # fmt: skip
    note = (
        "These predictions less the others, volume by volume: mean with its 95 % bootstrap "
        "interval, and Wilcoxon's signed-rank test (two-sided, not corrected for many rows)."
    )
    head = ["measure", "difference", "interval", "better : worse", "p"]
    return [Table(title, head, rows, note)] if rows else []


def _case_tables(summary: Summary, cases: Sequence[CaseScores]) -> list[Table]:
    names = [name for name in SHOWN if name in summary.measures]
    if not names:
        return []
    volumes = [
        [case.case, method, f"{case.acceleration:.2f}", *[number(n, values[n]) for n in names]]
        for case in cases
        for method, values in case.volume.items()
    ]
    slices = [
        [case.case, str(index), *[number(n, values[n][place]) if n in values else ""
                                  for n in names]]
        for case in cases
        for values in [case.per_slice.get(summary.method, {})]
        for place, index in enumerate(case.slices)
    ]  # fmt: skip
    titles = [title_of(name) for name in names]
    note = "All measures, also of the slices of every method, are in volumes.csv and slices.csv."
    return [
        Table("By volume", ["case", "method", "acceleration", *titles], volumes, note, True),
        Table(f"By slice, {summary.method}", ["case", "slice", *titles], slices, "", True),
    ]


def _curves(cases: Sequence[CaseScores]) -> list[Any]:
    found = []
    for case in cases[:_MOST_CURVES]:
        for name in ("fastmri.whole.ssim", "fastmri.whole.psnr"):
            series = {m: values[name] for m, values in case.per_slice.items() if name in values}
            if series and len(case.slices) > 1:
                found.append((f"{case.case}: {title_of(name)}", list(case.slices), series))
    return found


def _training(record: Record) -> list[Picture]:
    folder = Path(record.model)
    files = sorted(folder.glob("fold_*/curves.png")) if (folder / "model.json").is_file() else []
    return [Picture(picture_address(file.read_bytes()), file.parent.name, "") for file in files]


def _definitions() -> list[tuple[str, str]]:
    rows = [(each.title, each.definition) for each in CONVENTIONS.values()]
    rows.append(("foreground", "the head: pixels above a fifth of the 99th percentile after "
                 "smoothing, largest piece, holes filled; the whole image counts the noise of the "
                 "background too, which flatters methods that keep it"))  # fmt: skip
    rows.append(("Intervals", "95 % percentile bootstrap over volumes, 2000 draws, seed 0"))
    return rows


def _facts(record: Record) -> list[tuple[str, list[tuple[str, str]]]]:
    cases = record.cases.values()
    rates = sorted({case.acceleration for case in cases})
    seconds = sum(case.seconds for case in cases)
    slices = sum(len(case.slices) for case in cases)
    sections = [("Data", [
        ("predictions", str(record.folder)),
        ("volumes, slices", f"{len(record.cases)}, {slices}"),
        ("acceleration", ", ".join(f"{rate:.2f}" for rate in rates)),
        ("seconds a slice", f"{seconds / max(1, slices):.2f}"),
    ])]  # fmt: skip
    model = Path(record.model) / "model.json"
    if model.is_file():
        network = {str(k): str(v) for k, v in read_json(model)["network"].items()}
        sections.append(("Model", [("folder", record.model), *network.items()]))
    where = environment()
    rows = [(name, str(value)) for name, value in where["versions"].items()]
    sections.append(("Environment", [("system", where["system"]), *rows]))
    return sections


def _command(config: "EvaluateConfig") -> str:
    words = ["medssm", "evaluate", str(config.predictions)]
    for flag, value in (("-r", config.references), ("-o", config.output),
                        ("--against", config.against)):  # fmt: skip
        words += [flag, str(value)] if value is not None else []
    words.append(f"baselines=[{','.join(config.baselines)}]")
    return shlex.join([*words, f"tune={config.tune}", f"shown={config.shown}"])
