"""What a page about one record shows: its labels, findings and coloured leads."""

import numpy as np

from medssm.fields.ecg.model_folder import TrainedModel
from medssm.fields.ecg.outputs import RecordResult
from medssm.fields.ecg.recordings import Recording
from medssm.fields.ecg.windows import WindowPlan
from medssm.reports.ecg_page import EcgPage

_MOST_LABELS = 8


def page_of(
    name: str, result: RecordResult, model: TrainedModel, saliency: np.ndarray | None
) -> EcgPage:
    """The page of a record: its middle window, decided labels first, then the likeliest others.

    The leads are drawn as they were recorded, in mV and at their own rate, whatever the network is
    given.

    Shape:
        saliency: (leads, length of a window at the network's rate).
    """
    recording, plan = result.recording, model.plan
    start = WindowPlan(plan.length, most=1).starts(recording.prepared().shape[1])[0]
    shown = window_of(recording, start / plan.rate_hz, plan.length / plan.rate_hz)
    if saliency is not None:
        places = np.arange(shown.shape[1]) * saliency.shape[1] // shown.shape[1]
        saliency = saliency[:, places]
    order = sorted(
        range(len(plan.classes)),
        key=lambda index: (not result.decided[index], -result.probabilities[index]),
    )
    labels = tuple(
        (plan.classes[i].abbreviation, float(result.probabilities[i]), bool(result.decided[i]))
        for i in order[:_MOST_LABELS]
    )
    return EcgPage(
        signal=shown,
        leads=tuple(plan.leads),
        rate_hz=recording.signal.rate_hz,
        title=name,
        labels=labels,
        saliency=saliency,
        findings=recording.findings,
    )


def window_of(recording: Recording, start_s: float, seconds: float) -> np.ndarray:
    """A span of the record as it was read, leads in the plan's order, each around its median.

    Shape:
        result: (leads, T) mV, NaN where nothing was recorded.
    """
    signal = recording.signal
    first = round(start_s * signal.rate_hz)
    length = round(seconds * signal.rate_hz)
    result = np.full((len(recording.plan.leads), length), np.nan, np.float32)
    rows = dict(zip(signal.leads, signal.millivolts, strict=True))
    for row, lead in zip(result, recording.plan.leads, strict=True):
        piece = rows.get(lead, np.zeros(0, np.float32))[first : first + length]
        if np.isfinite(piece).any():
            row[: len(piece)] = piece - np.nanmedian(piece)
    return result
