"""What travels in a bundle of reconstruction: from files of k-space to slices, to images."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor, nn

from medssm.core.errors import BadDataError, UsageError
from medssm.core.signature import make
from medssm.data.kspace_writers import write_reconstruction
from medssm.data.readers.kspace import open_kspace
from medssm.fields.reconstruction.importing import case_files
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.fields.reconstruction.volumes import cropped, mask_of


def list_volumes(dataset_dir: str) -> list[dict[str, str]]:
    """The files of k-space in a folder, or the one file.

    Raises:
        BadDataError: There is none.
    """
    found = case_files(Path(dataset_dir))
    return [{"image": str(file), "case": name} for name, file in found.items()]


class ReadKspaced(MapTransform):
    """Read a volume, undersampled by its own mask or by one that is drawn as predict draws it.

    A file that cannot be used has no slice; "problem" says why, and the others go on.

    Args:
        keys: Files.
        sampling: Masks for files that hold every sample.
        centred: Where the network expects the origin.

    Shape:
        result: (S, 2 coils + 2, H, W), as `PackedReconstruction` takes slices.
    """

    def __init__(self, keys: KeysCollection, sampling: Mapping[str, Any], centred: bool) -> None:
        super().__init__(keys)
        self.sampling: SamplingConfig = make(SamplingConfig, sampling, "sampling")
        self.centred = centred

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the volumes of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            case |= {"file": str(case[key]), "problem": ""}
            try:
                case[key] = self._slices(Path(case[key]), str(case["case"]))
            except (BadDataError, UsageError) as error:
                case |= {key: torch.zeros(0, 4, 8, 8), "problem": str(error)}
        return case

    def _slices(self, file: Path, name: str) -> Tensor:
        volume = replace(open_kspace(file), name=name)
        if volume.centred != self.centred:
            raise BadDataError(
                f"{file}: its images come by the {'centred' if volume.centred else 'plain'} "
                "transform. Expected the other one, which this network learned with."
            )
        mask_at, made = mask_of(volume, self.sampling), []
        for index in range(volume.slices):
            kspace = volume.read(index)
            mask = mask_at(kspace)
            samples = torch.view_as_real(torch.from_numpy(kspace) * mask.sampled)
            planes = samples.movedim(-1, 1).flatten(0, 1)
            made.append(torch.cat((planes, mask.sampled[None].float(), mask.acs[None].float())))
        return torch.stack(made)


class SlicesInferer(Inferer):
    """Reconstruct a volume slice by slice.

    Shape:
        inputs: (1, S, planes, H, W), result (1, S, H, W).
    """

    def __call__(self, inputs: Tensor, network: nn.Module, *_: Any, **__: Any) -> Tensor:
        """Run the network."""
        volume = inputs[0]
        if not len(volume):
            return torch.zeros(1, *volume[:, 0].shape, device=inputs.device)
        return torch.cat([network(each[None])[:, 0] for each in volume])[None]


class SaveReconstructiond(MapTransform):
    """Write images as CASE.h5, cropped as the file's header says, and tell of them in "answer".

    Args:
        keys: Images.
        output_dir: Where to.
    """

    def __init__(self, keys: KeysCollection, output_dir: str) -> None:
        super().__init__(keys)
        self.folder = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the images of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            name, told = str(case["case"]), str(case["problem"])
            rows: list[dict[str, Any]] = []
            if not told:
                volume = open_kspace(Path(str(case["file"])))
                images = np.asarray(torch.as_tensor(case[key]).cpu().numpy(), dtype=np.float32)
                size = volume.image_size
                images = np.stack([cropped(each, size) for each in images])
                self.folder.mkdir(parents=True, exist_ok=True)
                write_reconstruction(self.folder / name, images, volume, formats=("h5",))
                rows = [{"file": f"{name}.h5", "slices": len(images)}]
            case["answer"] = {"case": name, "rows": rows, "problem": told}
        return case
