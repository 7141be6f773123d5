"""One case from image files to a label map on the input's own grid, in bounded memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import atomic_path, sha256
from medssm.core.log import warn
from medssm.core.memory import free_bytes
from medssm.data.integrity import check_image_file
from medssm.fields.segmentation.inputs import InputCase
from medssm.fields.segmentation.nnunet.restore import (
    preprocess_image,
    restore_label,
    write_label,
)
from medssm.fields.segmentation.plan_file import Plan
from medssm.fields.segmentation.probabilities import write_probabilities
from medssm.inference.streaming import Scratch, StreamedLogits
from medssm.inference.windows import WindowSettings, predict_logits

# resampling one class of the input's grid: float64 in, float64 out, and the running maximum
_RESTORE_BYTES = 32


@dataclass(frozen=True)
class Prepared:
    """A preprocessed image, and what leads back from its grid to the input's.

    Shape:
        image: (C, *S).
    """

    image: Any
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class CasePredictor:
    """Everything that is the same for all cases of one prediction.

    Args:
        network: Logits from windows, on its device, in evaluation mode.
        plan: How images are preprocessed and labels restored.
        windows: How windows lie.
        scratch: Where temporary files go.
        file_ending: Ending of the label maps.
        save_probabilities: Also write {case}.npz with the array "probabilities".
        largest_component: Keep only the largest piece of every label.
    """

    network: nn.Module
    plan: Plan
    windows: WindowSettings
    scratch: Scratch
    file_ending: str
    save_probabilities: bool = False
    largest_component: bool = False

    def prepare(self, case: InputCase) -> Prepared:
        """Check the files of a case and preprocess them.

        Raises:
            BadDataError: A file is damaged, or a channel is missing.
        """
        if case.problem:
            raise BadDataError(case.problem)
        if case.prepare is not None:
            return Prepared(*case.prepare())
        files = case.files if case.source is None else case.source.stage()
        for file in files:
            errors = [f for f in check_image_file(file) if f.severity == "error"]
            if errors:
                told = "; ".join(
                    f"{e.problem}: found {e.found}, expected {e.expected}. {e.remedy}"
                    for e in errors
                )
                raise BadDataError(f"{file if case.source is None else case.name}: {told}")
        return Prepared(*preprocess_image(files, self.plan))

    def predict(
        self,
        case: InputCase,
        prepared: Prepared,
        folder: Path,
        on_windows: Callable[[int, int], None] | None = None,
    ) -> dict[str, str]:
        """Predict a case and write its outputs.

        Returns:
            sha256 of every file written, by name.

        Raises:
            MachineError: Not enough memory or disk; the message says how much is needed.
        """
        _check_memory(case.name, prepared)
        with self._logits(prepared, on_windows) as logits:
            label = restore_label(logits, prepared.properties, self.plan)
            if self.largest_component:
                label = keep_largest_components(label)
            outputs = {}
            if self.save_probabilities:
                name = f"{case.name}.npz"
                with atomic_path(folder / name) as partial:
                    write_probabilities(
                        partial, logits, prepared.properties, self.plan, self.scratch
                    )
                outputs[name] = sha256(folder / name)
        name = f"{case.name}{self.file_ending}"
        with atomic_path(folder / name) as partial:
            write_label(label, partial, prepared.properties, self.plan)
        outputs[name] = sha256(folder / name)
        return outputs

    def _logits(
        self, prepared: Prepared, on_windows: Callable[[int, int], None] | None
    ) -> StreamedLogits:
        image = torch.as_tensor(np.asarray(prepared.image))
        settings = self.windows
        while True:
            try:
                return predict_logits(self.network, image, settings, self.scratch, on_windows)
            except torch.OutOfMemoryError as error:
                if settings.batch_size == 1:
                    raise MachineError(
                        f"the device has no memory for one window of {settings.size}: {error} "
                        "Close other programs on it, or take device=cpu."
                    ) from error
                settings = replace(settings, batch_size=settings.batch_size // 2)
                warn("out of device memory; going on with %d windows a time", settings.batch_size)
            torch.cuda.empty_cache()


def prepared_ahead(
    predictor: CasePredictor, cases: Sequence[InputCase], ahead: int
) -> Iterator[tuple[InputCase, Callable[[], Prepared]]]:
    """Preprocess the next cases while the network works on one."""
    if ahead < 1:
        for case in cases:
            yield case, partial(predictor.prepare, case)
        return
    with ThreadPoolExecutor(ahead) as pool:
        waiting: list[Future[Prepared]] = []
        try:
            for index, case in enumerate(cases):
                while len(waiting) < min(ahead + 1, len(cases) - index):
                    waiting.append(pool.submit(predictor.prepare, cases[index + len(waiting)]))
                yield case, waiting.pop(0).result
        finally:
            for future in waiting:
                future.cancel()


def keep_largest_components(label: Any) -> Any:
    """Keep the largest connected piece of every label value, as touching faces connect it.

    Shape:
        label: (*S); result: the same shape and type.
    """
    kept = np.zeros_like(label)
    for value in np.unique(label):
        if value == 0:
            continue
        pieces, count = ndimage.label(label == value)
        largest = 1 if count == 1 else int(np.bincount(pieces.ravel())[1:].argmax()) + 1
        kept[pieces == largest] = value
    return kept


def _check_memory(name: str, prepared: Prepared) -> None:
    shape = prepared.properties.get("shape_before_cropping", prepared.image.shape[1:])
    voxels = int(np.prod(np.asarray(shape, dtype=np.float64)))
    needed = voxels * _RESTORE_BYTES
    free = free_bytes()
    if free is not None and needed > free:
        raise MachineError(
            f"{name}: bringing {voxels:,} voxels back to the input's grid takes about "
            f"{needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free. Close other "
            "programs, or crop the image."
        )
