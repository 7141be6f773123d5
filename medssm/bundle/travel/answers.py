"""Answers about whole cases: their names, the files they are written to, and how good they are."""

import csv
import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.metrics import CumulativeIterationMetric, compute_roc_auc
from monai.transforms import MapTransform
from torch import Tensor

from medssm.core.inert import file_name

_LOGGER = logging.getLogger("bundle")


def case_names(files: Sequence[Path], root: Path) -> list[str]:
    """A name for each file: its place below the folder without the ending, with it where needed."""
    places = [file.relative_to(root) for file in files]
    plain = ["__".join((*place.parts[:-1], _stem(place))) for place in places]
    return [
        "__".join(place.parts) if plain.count(name) > 1 else name
        for name, place in zip(plain, places, strict=True)
    ]


def _stem(file: Path) -> str:
    # .nii.gz is one ending
    return file.stem.removesuffix(".nii") if file.suffix == ".gz" else file.stem


class SaveAnswerd(MapTransform):
    """Write what was said of a case: NAME.json, and its rows in the table of all cases.

    Args:
        keys: Answers: a mapping with "case", "rows" (columns to values) and whatever else is told;
            "problem" where the case could not be read.
        output_dir: Where to; the table is begun anew by each run.
        table: Name of the table.

    Raises:
        BadDataError: The name of a case leads out of the folder.
    """

    def __init__(self, keys: KeysCollection, output_dir: str, table: str = "answers.csv") -> None:
        super().__init__(keys)
        self.folder, self.table = Path(output_dir), table
        self._begun = False
        self._columns: list[str] | None = None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the answers of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            self._write(case[key])
        return case

    def _write(self, answer: Mapping[str, Any]) -> None:
        name = file_name(answer["case"], "the name of a case", self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._begun:
            (self.folder / self.table).unlink(missing_ok=True)
            self._begun = True
        if answer.get("problem"):
            _LOGGER.warning("%s: %s", answer["case"], answer["problem"])
        file = self.folder / f"{name}.json"
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
        partial.replace(file)
        rows = [{"case": answer["case"], **row} for row in answer["rows"]]
        if not rows:
            return
        first = self._columns is None
        self._columns = self._columns or list(rows[0])
        place = self.folder / self.table
        with place.open("w" if first else "a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, self._columns, lineterminator="\n")
            if first:
                writer.writeheader()
            writer.writerows(rows)


class MeanArea(CumulativeIterationMetric):
    """Area under the ROC curve, a mean over the classes that have both yes and no.

    NaN, where a case has no answer or nothing is known of a class, does not count. Without any such
    class it is NaN.

    Shape:
        y_pred: probabilities, y: 0 or 1; both (B, K).
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: Any) -> Tensor:
        assert y is not None
        return torch.stack([y_pred.double(), y.to(y_pred.device).double()], dim=-1)

    def aggregate(self) -> float:
        """The mean area over all cases so far."""
        areas = []
        for each in self.get_buffer().cpu().unbind(1):
            seen = each[torch.isfinite(each).all(-1)]
            if len(seen[:, 1].unique()) > 1:
                areas.append(float(compute_roc_auc(seen[:, 0], seen[:, 1], average="none")))
        return sum(areas) / len(areas) if areas else float("nan")
