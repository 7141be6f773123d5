"""What travels in a bundle of bags: the network as MONAI calls it, and its answers, written."""

import csv
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor, nn

from medssm.fields.pathology.bag_answer import Kind, row_of, told
from medssm.networks.bag_stream import read_rows
from medssm.networks.bags import BagNetwork, BagOutput

_NAN = float("nan")


class BagLogits(nn.Module):
    """A network of bags as MONAI calls networks.

    Args:
        network: Reads standardised features.
        width: Numbers a tile.

    Shape:
        x: (B, width, N), result (B, K).
    """

    def __init__(self, network: BagNetwork, width: int) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """The logits of bags of one size."""
        logits: Tensor = self.network(self._standard(x.transpose(1, 2))).logits
        return logits

    def whole(self, x: Tensor) -> BagOutput:
        """Logits and attention of one bag of any size, (width, N)."""
        return read_rows(self.network, self._standard(x.T))

    def _standard(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.deviation


class BagInferer(Inferer):
    """Ask `BagLogits` about whole bags, for the share of each tile too.

    Shape:
        inputs: (1, width, N); result "logits" (1, K) and "attention" (1, 1 or K, N), NaN and
        nothing for a bag without tiles.
    """

    def __call__(self, inputs: Tensor, network: BagLogits, *_: Any, **__: Any) -> dict[str, Tensor]:
        """Read the bag."""
        if not inputs.shape[-1]:
            classes = network.network.out_channels
            return {"logits": inputs.new_full((1, classes), _NAN),
                    "attention": inputs.new_zeros(1, 1, 0)}  # fmt: skip
        output = network.whole(inputs[0])
        return {"logits": output.logits, "attention": output.attention}


class BagAnswerd(MapTransform):
    """Turn logits into probabilities, hazards or a risk, and an answer that can be written.

    Args:
        keys: What `BagInferer` gave; it becomes probabilities or hazards, and "risk" is set.
        kind: "classification", "survival" (hazards of time bins) or "risk".
        classes: Their names.
    """

    def __init__(self, keys: KeysCollection, kind: Kind, classes: Sequence[str]) -> None:
        super().__init__(keys)
        self.kind, self.classes = kind, list(classes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Answer about the bag of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            output = BagOutput(case[key]["logits"][None], case[key]["attention"][None])
            said = told(output, str(case["case"]), 0, self.kind)
            case["attention"] = torch.from_numpy(said.attention)
            case["risk"] = torch.tensor([_NAN if said.risk is None else said.risk])
            case[key] = torch.from_numpy(said.probabilities)
            if case["problem"]:
                rows = []
            else:
                row = row_of(said, self.classes)
                rows = [{name: row[name] for name in row if name not in ("bag", "fold", "status")}]
            about = {name: str(case[name]) for name in ("case", "file", "problem")}
            tiles = int(case["order"].numel())
            case["answer"] = {**about, "tiles": tiles, "rows": rows}
        return case


class SaveAttentiond(MapTransform):
    """Write the share of every tile in the answer: attention/NAME.csv, in the order of the files.

    Args:
        keys: Shares, (1 or K, N).
        output_dir: Where to.
    """

    def __init__(self, keys: KeysCollection, output_dir: str) -> None:
        super().__init__(keys)
        self.folder = Path(output_dir) / "attention"

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the shares of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            if case["problem"]:
                continue
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.folder / f"{case['case']}.csv"
            partial = file.with_name(f".{file.name}.partial")
            with partial.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream, lineterminator="\n").writerows(self._rows(case, key))
            partial.replace(file)
        return case

    def _rows(self, case: Mapping[Hashable, Any], key: Hashable) -> list[list[Any]]:
        shares, order = case[key].numpy(), case["order"].cpu().numpy()
        back = np.empty_like(shares)
        back[:, order] = shares
        counts = case["counts"].cpu().tolist()
        slides = zip(str(case["slides"]).split("; "), counts, strict=True)
        names = [(slide, tile) for slide, count in slides for tile in range(count)]
        places = case["coords"].cpu().tolist() or [["", ""]] * len(names)
        header = ["slide", "tile", "x", "y", *(f"share_{i}" for i in range(len(back)))]
        return [header, *(
            [*name, *place, *(f"{value:.9g}" for value in share)]
            for name, place, share in zip(names, places, back.T, strict=True)
        )]  # fmt: skip
