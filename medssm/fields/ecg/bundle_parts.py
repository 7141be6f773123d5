"""The parts of a bundle of electrocardiograms: configurations, metadata and README."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from medssm.bundle.answer_configs import ANSWERS, AnswerRecipe, Teaching, verbatim
from medssm.bundle.answer_readme import FINETUNING, Page, labelled_commands
from medssm.bundle.config_parts import Config, at
from medssm.bundle.embed import called
from medssm.bundle.metadata import About, answers, document, named, needed, unknown_licence
from medssm.core.files import read_json
from medssm.fields.ecg.model_folder import CALIBRATION, TrainedModel
from medssm.networks import ECG_NETWORKS

TRAVEL = "medssm.fields.ecg.travel"
_NEEDS = ("pytorch-ignite", "fire", "scipy", "wfdb")
_MADE_WITH = ("rate_hz", "leads", "scale", "clip_mv", "bandpass_hz", "notch_hz", "min_leads")
_LR = 1e-3
_BATCH = 16


def recipe_of(model: TrainedModel, embed: bool) -> AnswerRecipe:
    """What the configurations are made of."""
    plan, content = model.plan, dict(model.content["network"])
    (calibration,) = model.calibrations()
    classes = [asdict(each) for each in plan.classes]
    for each in classes:
        verbatim([*each.values()], f"{model.folder}: a class of its plan")
    told = plan.plain()

    def ours(name: str, /, **arguments: Any) -> Config:
        return at(called(f"{TRAVEL}.{name}", embed), **arguments)

    record = {"keys": "image", "plan": {name: told[name] for name in _MADE_WITH},
              "length": plan.length}  # fmt: skip
    inferer = ours("WindowsInferer", classes=len(classes))
    labelled = [ours("ReadWindowsd", **record, classes=classes)]
    area = at(called(f"{ANSWERS}.MeanArea", embed))
    values = {name: getattr(calibration, name).tolist() for name in ("slope", "shift")}
    return AnswerRecipe(
        network={"_target_": _network(content, embed),
                 **{key: value for key, value in content.items() if key != "name"}},
        list_cases=called(f"{TRAVEL}.list_records", embed),
        travel=called(ANSWERS, embed),
        read=[ours("ReadWindowsd", **record)],
        inferer=inferer,
        answer=[
            ours("CalibratedAnswerd", keys="pred", classes=classes, **values,
                 thresholds=calibration.thresholds.tolist()),
        ],
        read_labelled=labelled,
        measures={
            "val_mean_area": at(
                "IgniteMetricHandler", metric_fn=area, save_details=False,
                output_transform="$monai.handlers.from_engine(['pred', 'label'])",
            )
        },
        extra=("about",),
        teaching=Teaching(
            shown=[
                ours("ReadRandomWindowd", **record, classes=classes),
                at("RandScaleIntensityd", keys="image", factors=0.3, prob=1.0),
                at("RandGaussianNoised", keys="image", prob=0.5, std=0.05),
                at("EnsureTyped", keys="image", track_meta=False),
            ],
            held_back=labelled,
            loss=ours("KnownLoss"),
            batch=_BATCH,
            lr=_LR,
            inferer=inferer,
        ),
    )  # fmt: skip


def _network(content: Mapping[str, Any], embed: bool) -> str:
    return called(ECG_NETWORKS[str(content["name"])].replace(":", "."), embed)


def metadata_of(model: TrainedModel, name: str, embed: bool) -> dict[str, Any]:
    """The content of metadata.json."""
    plan = model.plan
    about = About(
        name=name,
        task=f"{len(plan.classes)} findings in electrocardiograms",
        description=(
            f"{model.content['network']['name']} trained by medssm on {model.content['dataset']}: "
            f"records of {len(plan.leads)} leads to a calibrated probability for each finding."
        ),
        needs=needed(_NEEDS, embed),
        figures=_card(model),
        licence=unknown_licence(model.content["dataset"]),
    )
    image = {
        "type": "series",
        "format": "raw",
        "modality": "ECG",
        "num_channels": len(plan.leads),
        "spatial_shape": [plan.length],
        "dtype": "float32",
        "value_range": [-plan.clip_mv, plan.clip_mv],
        "is_patch_data": True,
        "channel_def": named(plan.leads),
    }
    classes = [f"{each.abbreviation} ({each.code})" for each in plan.classes]
    return document(about, {"image": image}, {"pred": answers(classes)})


def _card(model: TrainedModel) -> dict[str, Any]:
    """Figures of the fold's own validation, where it had one."""
    (weights,) = model.weights.values()
    file = weights.parent / CALIBRATION
    held_back = read_json(file).get("held_back") if file.is_file() else None
    return dict(held_back or {})


def page_of(
    model: TrainedModel, name: str, embed: bool, recipe: AnswerRecipe, content: Mapping[str, Any]
) -> Page:
    """What the README tells."""
    plan = model.plan
    unit = {"millivolts": "in mV", "record": "standardised over the record",
            "lead": "standardised lead by lead"}[plan.scale]  # fmt: skip
    return Page(
        name=name,
        task=f"Reads electrocardiograms: {len(plan.classes)} findings, a probability for each.",
        network=str(recipe.network["_target_"]),
        embed=embed,
        packages=content["required_packages_version"],
        takes=(
            "`INPUT` is a record or a folder of records, at any depth: WFDB (.hea with .dat or "
            ".mat), .mat, .npy, .csv; with pydicom, pyedflib or h5py installed also DICOM, EDF/BDF "
            "and HDF5. Units are brought to mV and leads to the order "
            f"{', '.join(plan.leads)}; a lead that is missing is zero, fewer than "
            f"{plan.min_leads} are refused.",
            f"A record is resampled to {plan.rate_hz:g} Hz, less its median, {unit}, clipped at "
            f"{plan.clip_mv:g}, and read in windows of {plan.window_s:g} s, at most 12 with half "
            "an overlap.",
        ),
        gives=(
            "`OUTPUT/RECORD.json`, and `OUTPUT/answers.csv` with a row for each record and "
            "finding: SNOMED code, abbreviation, name, calibrated probability, the finding's own "
            "threshold, and the decision.",
        ),
        teaching=(
            labelled_commands(train=True),
            "`labels.csv` has the columns `record` (file name without ending) and `codes` (SNOMED, "
            "joined by semicolons). Records that are not in it take the diagnoses of their own "
            "headers (`#Dx:`); one without any is answered and does not count, and stops a "
            "training that learns from it. The area under the ROC curve, a mean over the findings "
            "that occur, goes to `OUTPUT/metrics.csv`.",
            f"{FINETUNING} What it learns is not calibrated: slopes, shifts and thresholds in "
            "`inference.json` belong to `models/model.pt`.",
        ),
        card=_card(model),
    )
