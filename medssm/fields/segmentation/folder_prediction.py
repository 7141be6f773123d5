"""Cases to a folder of label maps: each on its own, streamed, atomic, resumable."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from medssm.core.errors import InterruptedRunError, MedssmError, UsageError
from medssm.core.files import RECORDS, digest
from medssm.core.log import Progress, detail, say
from medssm.data.dicom.series import SeriesNote
from medssm.fields.segmentation.case_prediction import CasePredictor, Prepared, prepared_ahead
from medssm.fields.segmentation.inputs import InputCase
from medssm.fields.segmentation.plan_file import Plan
from medssm.fields.segmentation.prediction_records import (
    PredictionRecord,
    why_again,
    write_record,
)
from medssm.inference.device import choose_device, describe_device
from medssm.inference.streaming import Scratch
from medssm.inference.windows import Sums, WindowSettings, windows_at_once
from medssm.training.interruption import Interruption


@dataclass(frozen=True)
class PredictSettings:
    """What decides how a network's answer becomes a label map.

    Args:
        mirroring: Average over mirror images, along the axes that training mirrored.
        step_size: Largest step between windows as a part of the window.
        save_probabilities: Also write {case}.npz with the array "probabilities".
        largest_component: Keep only the largest piece of every label.
        overwrite: Predict again what is there and fits.
        device: "auto", "cpu", "cuda" or "cuda:1".
        autocast: Half precision on a GPU.
        window_batch: Windows a forward pass; None takes as many as the device is busy with:
            planes are small, and one at a time leaves it idle.
        workers: Cases preprocessed ahead while the network computes.
        scratch: Folder for temporary files; None takes the output folder.
        sums: How overlapping windows are added up; None takes the model's way: float32, and as
            stock nnU-Net does it, float16, for a model that was imported from there.
    """

    mirroring: bool = True
    step_size: float = 0.5
    save_probabilities: bool = False
    largest_component: bool = False
    overwrite: bool = False
    device: str = "auto"
    autocast: bool = True
    window_batch: int | None = None
    workers: int = 1
    scratch: Path | str | None = None
    sums: Sums | None = None

    def __post_init__(self) -> None:
        if not 0 < self.step_size <= 1:
            raise UsageError(f"step_size={self.step_size}: expected above 0, at most 1.")
        for name, least in (("window_batch", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name}={value}: expected {least} or more.")


@dataclass(frozen=True)
class PredictReport:
    """What came of a prediction.

    Args:
        done: Cases that were predicted now.
        failed: Cases that could not be, with the reason.
        skipped: Cases whose output was there, whole and fitting.
        output: The folder.
        exit_code: 0, or that of the gravest failed case (70 where the fault is ours).
        series: What became of every DICOM series.
    """

    done: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    output: Path = Path()
    exit_code: int = 0
    series: tuple[SeriesNote, ...] = ()

    def line(self) -> str:
        """The report in a sentence."""
        return (
            f"done {len(self.done)}, failed {len(self.failed)}, skipped {len(self.skipped)} "
            f"in {self.output}"
        )

    def joined(self, other: "PredictReport") -> "PredictReport":
        """This report and another of the same folder as one."""
        return PredictReport(
            self.done + other.done,
            {**self.failed, **other.failed},
            self.skipped + other.skipped,
            self.output,
            max(self.exit_code, other.exit_code),
            self.series + other.series,
        )


def predict_to_folder(
    network: nn.Module,
    plan: Plan,
    cases: Sequence[InputCase],
    folder: Path,
    *,
    file_ending: str,
    mirror_axes: tuple[int, ...] = (),
    settings: PredictSettings | None = None,
    model_key: str = "",
) -> PredictReport:
    """Predict cases with a network that is in memory; needs no model folder.

    Args:
        network: Windows (B, C, *window) to logits (B, K, *window).
        plan: How images are preprocessed and labels restored.
        cases: What to predict.
        folder: Where label maps go, each with a record under .medssm/.
        file_ending: Ending of the label maps, e.g. ".nii.gz".
        mirror_axes: Axes that training mirrored.
        settings: Everything else.
        model_key: Hash of the network; without it nothing counts as already predicted.

    Returns:
        Which cases are done, failed and skipped.

    Raises:
        InterruptedRunError: A signal asked to stop; the case in work was dropped.
    """
    settings = settings or PredictSettings()
    key = digest([model_key, _deciding(settings), list(mirror_axes)]) if model_key else ""
    todo, skipped = _split(cases, folder, key, settings)
    failed, exit_code = _finish_all(skipped, folder, file_ending)
    names = tuple(case.name for case in skipped if case.name not in failed)
    report = PredictReport((), failed, names, folder, exit_code)
    if not todo:
        return report
    device = choose_device(settings.device)
    say("predicting %d case(s) on %s", len(todo), describe_device(device))
    scratch = Path(settings.scratch or folder / RECORDS)
    scratch.mkdir(parents=True, exist_ok=True)
    predictor = CasePredictor(
        network=network,
        plan=plan,
        windows=WindowSettings(
            size=tuple(plan.patch_size),
            step=settings.step_size,
            batch_size=settings.window_batch or windows_at_once(plan.patch_size, device),
            mirror_axes=mirror_axes if settings.mirroring else (),
            autocast=settings.autocast and device.type == "cuda",
            sums=settings.sums or "float32",
        ),
        scratch=Scratch(scratch),
        file_ending=file_ending,
        save_probabilities=settings.save_probabilities,
        largest_component=settings.largest_component,
    )
    with _evaluating(network, device):
        return report.joined(_run(predictor, todo, folder, key, settings.workers))


def _deciding(settings: PredictSettings) -> dict[str, Any]:
    """The settings that change what is written."""
    names = ("mirroring", "step_size", "save_probabilities", "largest_component")
    rounded = {"sums": settings.sums} if settings.sums == "float16" else {}
    return {name: getattr(settings, name) for name in names} | rounded


def _split(
    cases: Sequence[InputCase], folder: Path, key: str, settings: PredictSettings
) -> tuple[list[InputCase], list[InputCase]]:
    todo, skipped = [], []
    for case in cases:
        again = settings.overwrite or case.problem or not key
        reason = "asked for" if again else why_again(folder, case.name, key, case.hashes)
        if reason:
            detail("%s: %s", case.name, reason)
            todo.append(case)
        else:
            skipped.append(case)
    return todo, skipped


def _finish_all(
    cases: Sequence[InputCase], folder: Path, ending: str
) -> tuple[dict[str, str], int]:
    """Write what is missing beside label maps that are there; cases that failed, and the code."""
    failed: dict[str, str] = {}
    exit_code = 0
    for case in cases:
        try:
            _finish(case, folder, ending)
        except MedssmError as error:
            failed[case.name], exit_code = str(error), max(exit_code, error.exit_code)
    return failed, exit_code


def _finish(case: InputCase, folder: Path, ending: str) -> None:
    if case.source is not None:
        case.source.finish(folder / f"{case.name}{ending}")


@contextmanager
def _evaluating(network: nn.Module, device: Any) -> Iterator[None]:
    training = network.training
    network.to(device).eval()
    try:
        yield
    finally:
        network.train(training)


def _run(
    predictor: CasePredictor, cases: Sequence[InputCase], folder: Path, key: str, ahead: int
) -> PredictReport:
    done: list[str] = []
    failed: dict[str, str] = {}
    exit_code = 0
    bar = Progress(len(cases), "predict")
    with Interruption() as stop:
        watch = _Watch(stop, cases)
        for case, prepare in prepared_ahead(predictor, cases, ahead):
            watch.check()
            try:
                _one(predictor, case, prepare, (folder, key), watch.windows)
                done.append(case.name)
            except InterruptedRunError:
                raise
            except MedssmError as error:
                failed[case.name], exit_code = str(error), max(exit_code, error.exit_code)
            except Exception as error:
                # one case must not take the others with it, whatever its file holds
                detail("%s", "".join(traceback.format_exception(error)))
                failed[case.name] = f"unexpected {type(error).__name__}: {error}"
                exit_code = MedssmError.exit_code
            watch.case_is_done()
            bar.step(case.name)
    return PredictReport(tuple(done), failed, (), folder, exit_code)


class _Watch:
    """Looks for a request to stop between windows, and shows how far a case is.

    Of many cases only one that takes long is told of: the last window of each is not.
    """

    def __init__(self, stop: Interruption, cases: Sequence[InputCase]) -> None:
        self.stop, self.cases, self.finished = stop, cases, 0
        self.bar: Progress | None = None

    def check(self) -> None:
        if self.stop.requested:
            raise InterruptedRunError(
                f"stopped on request after {self.finished} of {len(self.cases)} case(s); the same "
                "command goes on from there."
            )

    def case_is_done(self) -> None:
        self.finished += 1
        self.bar = None

    def windows(self, count: int, total: int) -> None:
        # with the last window the case is nearly done: finish it
        if count < total:
            self.check()
        self.bar = self.bar or Progress(total, f"{self.cases[self.finished].name}: windows")
        if count < total or len(self.cases) == 1:
            self.bar.step(count=count - self.bar.done)


def _one(
    predictor: CasePredictor,
    case: InputCase,
    prepare: Callable[[], Prepared],
    place: tuple[Path, str],
    on_windows: Callable[[int, int], None],
) -> None:
    folder, key = place
    began = time.monotonic()
    try:
        prepared = prepare()
        inputs = case.hashes()
        outputs = predictor.predict(case, prepared, folder, on_windows)
        seconds = round(time.monotonic() - began, 3)
        write_record(folder, PredictionRecord(case.name, key, inputs, outputs, seconds))
        _finish(case, folder, predictor.file_ending)
    finally:
        if case.source is not None:
            case.source.release()
