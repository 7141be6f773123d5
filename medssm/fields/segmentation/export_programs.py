"""A segmentation network as .pt2, ONNX or TorchScript, each held against our own predictor."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from torch import Tensor, nn

from medssm.bundle.programs import (
    Program,
    example_size,
    open_onnx,
    open_program,
    portable_program,
    write_onnx,
    write_program,
)
from medssm.core.errors import BadDataError, MedssmError
from medssm.core.files import write_json
from medssm.core.log import say
from medssm.fields.segmentation.folder_prediction import PredictSettings, predict_to_folder
from medssm.fields.segmentation.inputs import InputCase, find_inputs
from medssm.fields.segmentation.program_facts import description
from medssm.fields.segmentation.trained import TrainedModel
from medssm.fields.segmentation.validation_cases import validation_cases

# share of voxels in which another program's label must equal ours
AGREEMENT = 0.999
ENDINGS = {"pt2": ".pt2", "onnx": ".onnx", "torchscript": ".ts"}


@dataclass(frozen=True)
class ProgramWish:
    """How programs are made and proven.

    Args:
        size: Spatial size to trace with; None takes the patch.
        tolerance: Largest difference of logits that a program may show.
        prove: Whether each predicts a held-back case.
        images: Folder with an image for the proof; None takes a held-back case.
    """

    size: tuple[int, ...] | None = None
    tolerance: float = 1e-3
    prove: bool = True
    images: Path | None = None


class Programs:
    """The programs of one model, from one trace and one prediction of ours.

    Args:
        model: Of several folds the mean of the logits.
        wish: How they are made and proven.
    """

    def __init__(self, model: TrainedModel, wish: ProgramWish) -> None:
        self.model, self.wish = model, wish
        self.network = model.network(list(model.weights)).cpu()
        self.size = example_size(self.network, model.plan.patch_size, wish.size)

    @cached_property
    def traced(self) -> Program:
        """The network as torch.export sees it."""
        return portable_program(self.network, self.model.channels, self.size)

    @cached_property
    def case(self) -> InputCase:
        """The case of the proof.

        Raises:
            BadDataError: There is none.
        """
        if self.wish.images is not None:
            channels, ending = self.model.channels, self.model.file_ending
            return find_inputs(self.wish.images, channels, ending)[0]
        try:
            # of several folds any held-back case will do: both sides average all of them
            _, held = next(validation_cases(self.model, None))
        except BadDataError as error:
            raise BadDataError(
                f"{error} For the proof give images=FOLDER, or prove=false to go without it."
            ) from error
        return held[0]

    @cached_property
    def our_label(self) -> np.ndarray:
        """What our own predictor makes of the case."""
        return self._label(self.network)

    def write(self, kind: str, file: Path) -> dict[str, Any]:
        """Write a program and prove it.

        Returns:
            The figures of the proof.

        Raises:
            MedssmError: It does not answer as our network does; the file is not left there.
        """
        try:
            difference, any_size, run = self._written(kind, file)
            facts: dict[str, Any] = {
                "largest_logit_difference": difference,
                "spatial_size": "any" if any_size else list(self.size),
                "batch": "any",
            }
            self._refuse_if(not difference <= self.wish.tolerance, file, (
                f"its logits differ from the network's by {difference:.2e}; expected at most "
                f"{self.wish.tolerance:g}"))  # fmt: skip
            if self.wish.prove:
                facts |= self._proof(run, file)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        return facts

    def _written(self, kind: str, file: Path) -> tuple[float, bool, Callable[[Tensor], Tensor]]:
        if kind == "torchscript":
            from medssm.bundle.torchscript import open_torchscript, write_torchscript

            found = write_torchscript(self.network, self.model.channels, self.size, file)
            return *found, open_torchscript(file)
        if kind == "pt2":
            write_program(self.traced, file)
            difference = self.traced.largest_difference
            return difference, self.traced.any_size, open_program(file)
        difference = write_onnx(self.traced, self.network, file)
        return difference, self.traced.any_size, open_onnx(file)

    def _proof(self, run: Callable[[Tensor], Tensor], file: Path) -> dict[str, Any]:
        say("%s predicts %s beside medssm.", file.name, self.case.name)
        share = float(np.mean(self._label(_Run(run)) == self.our_label))
        self._refuse_if(share < AGREEMENT, file, (
            f"its label of {self.case.name} equals our own in {share:.4%} of the voxels; expected "
            f"{AGREEMENT:.1%}"))  # fmt: skip
        return {"case": self.case.name, "equal_voxels": round(share, 6)}

    def _label(self, network: nn.Module) -> np.ndarray:
        model = self.model
        with tempfile.TemporaryDirectory(prefix="medssm-proof-") as name:
            report = predict_to_folder(
                network, model.plan, [self.case], Path(name), file_ending=model.file_ending,
                mirror_axes=model.mirror_axes, settings=PredictSettings(device="cpu"),
            )  # fmt: skip
            if report.failed:
                raise BadDataError(report.failed[self.case.name])
            image = SimpleITK.ReadImage(Path(name) / f"{self.case.name}{model.file_ending}")
            return SimpleITK.GetArrayFromImage(image)

    @staticmethod
    def _refuse_if(wrong: bool, file: Path, what: str) -> None:
        if wrong:
            raise MedssmError(f"{file}: the program is not ours: {what}. Nothing is written.")

    def describe(self, file: Path, facts: dict[str, Any]) -> None:
        """Write what a program needs to know to use the logits, beside it."""
        told = description(self.model, self.network)
        write_json(file.with_suffix(f"{file.suffix}.json"), {**told, **facts})


class _Run(nn.Module):
    """Something that runs elsewhere, as a network."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        # hidden from eval(), which a program of torch.export refuses
        self.run = [run]
        # says on which device windows are wanted
        self.place = nn.Parameter(torch.zeros(0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.run[0](x.contiguous())
