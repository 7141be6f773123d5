"""What travels in a bundle of a pre-trained encoder: volumes in, maps and embeddings out."""

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor, nn

from medssm.bundle.travel.answers import case_names
from medssm.core.errors import BadDataError, UsageError
from medssm.fields.pretraining.crops import crops_of
from medssm.fields.pretraining.volume_input import images_in, read_scaled
from medssm.networks.masked_encoders import build_masked_encoder
from medssm.networks.sizes import check_sizes


def list_volumes(dataset_dir: str) -> list[dict[str, str]]:
    """The image files of a folder, or the one file.

    Raises:
        UsageError: There is none.
    """
    place = Path(dataset_dir)
    files = [place] if place.is_file() else sorted(images_in(place))
    if not files:
        raise UsageError(f"{place}: no image file found; expected e.g. .nii.gz, .mha or .nrrd.")
    names = case_names(files, files[0].parent)
    return [{"image": str(file), "case": name} for file, name in zip(files, names, strict=True)]


class ReadVolumed(MapTransform):
    """Read a volume on canonical axes, resampled and windowed as in the pre-training.

    A volume that cannot be read is empty; "problem" says why, and the others go on.

    Args:
        keys: Files.
        window_hu: What becomes 0 and 1 in CT; other images take their percentiles.
        spacing_mm: Of all volumes; None leaves each its own.

    Shape:
        result: (1, X, Y, Z) in 0..1.
    """

    def __init__(
        self, keys: KeysCollection, window_hu: Sequence[float], spacing_mm: float | None
    ) -> None:
        super().__init__(keys)
        self.window, self.spacing_mm = (window_hu[0], window_hu[1]), spacing_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the volume of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            case |= {"file": case[key], "problem": ""}
            try:
                voxels, _ = read_scaled(Path(case[key]), self.window, self.spacing_mm)
            except BadDataError as error:
                case["problem"] = str(error)
                voxels = np.zeros((0, 0, 0), np.float32)
            case[key] = torch.from_numpy(np.ascontiguousarray(voxels))[None]
        return case


class EncoderMap(nn.Module):
    """The deepest map of a network's encoder.

    Args:
        encoder: Name and arguments of the network.
        spatial_dims: Rank.
        in_channels: Channels of the image.

    Shape:
        x: (B, C, *S) with sizes that are multiples of a cell; result (B, C_deepest, *S / cell).
    """

    def __init__(
        self, encoder: Mapping[str, Any], spatial_dims: int = 3, in_channels: int = 1
    ) -> None:
        super().__init__()
        self.encoder = build_masked_encoder(encoder, spatial_dims, in_channels)
        self.divisors = self.encoder.cell

    def forward(self, x: Tensor) -> Tensor:
        """Encode, nothing hidden."""
        x = check_sizes(x, self.divisors)  # type: ignore[arg-type]
        maps = self.encoder(x.movedim(1, -1), finest=False)
        deepest: Tensor = maps[-1].movedim(-1, 1)
        return deepest


class EmbeddingInferer(Inferer):
    """Cover a volume with crops: the mean of their deepest tokens is its embedding.

    Args:
        crop: Voxels of a crop; two numbers take planes along the third axis.

    Shape:
        inputs: (1, 1, X, Y, Z), result (1, C); (1, 0) for an empty volume.
    """

    def __init__(self, crop: Sequence[int]) -> None:
        super().__init__()
        self.crop = tuple(crop)

    def __call__(self, inputs: Tensor, network: nn.Module, *_: Any, **__: Any) -> Tensor:
        """Embed the volume."""
        if not math.prod(inputs.shape):
            return inputs.new_zeros(1, 0)
        size = (*self.crop, 1)[:3]
        rows = []
        with torch.no_grad():
            for _place, cut in crops_of(inputs[0, 0].cpu().numpy(), size):
                x = torch.from_numpy(cut.reshape(1, 1, *self.crop)).to(inputs.device)
                rows.append(network(x)[0].flatten(1).mean(1).float().cpu().numpy())
        return torch.from_numpy(np.mean(rows, axis=0)[None]).to(inputs.device)


class EmbeddingAnswerd(MapTransform):
    """Turn an embedding into an answer that can be written.

    Args:
        keys: Embeddings, (C,).
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Answer about the volume of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            numbers = [float(f"{value:.8g}") for value in case[key].cpu().tolist()]
            row = {f"embedding_{index}": value for index, value in enumerate(numbers)}
            about = {name: str(case[name]) for name in ("case", "file", "problem")}
            case["answer"] = {**about, "rows": [row] if numbers else []}
        return case
