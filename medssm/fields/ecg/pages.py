"""What a page about one record shows: its labels, findings and coloured leads."""

import numpy as np

from medssm.fields.ecg.model_folder import TrainedModel
from medssm.fields.ecg.outputs import RecordResult
from medssm.fields.ecg.windows import WindowPlan
from medssm.reports.ecg_page import EcgPage

_MOST_LABELS = 8


def page_of(
    name: str, result: RecordResult, model: TrainedModel, saliency: np.ndarray | None
) -> EcgPage:
    """The page of a record: its middle window, decided labels first, then the likeliest others."""
    recording = result.recording
    plan = model.plan
    window = WindowPlan(plan.length, most=1)
    starts = window.starts(recording.prepared().shape[1])
    shown = window.cut(recording.prepared(), starts)[0]
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
        rate_hz=plan.rate_hz,
        title=name,
        labels=labels,
        saliency=saliency,
        findings=recording.findings,
    )
