"""Export: the pre-trained encoder, as weights with the network that they fit, or as a bundle."""

from typing import Any

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, sha256, write_bytes, write_json
from medssm.fields.pretraining.model_folder import open_model
from medssm.runs.answer import Answer
from medssm.runs.field import ExportRequest
from medssm.training.pretrained import ENCODER, ENCODER_FACTS


def export_encoder(request: ExportRequest) -> Answer:
    """Write encoder.safetensors and encoder.json to a folder that init=FOLDER takes, or a bundle.

    Raises:
        BadDataError: The model has not finished, or its encoder is damaged.
        UsageError: Another kind of export, or a word that nobody reads.
    """
    if request.kind == "bundle":
        return _bundle(request)
    if request.kind != "safetensors" or request.embed:
        raise UsageError(
            "a pre-training hands over its encoder: take --to safetensors, or --to bundle (with or "
            "without --embed). As a program export the segmentation that was fine-tuned from it."
        )
    if request.overrides:
        raise UsageError(f"medssm export MODEL: unexpected word {request.overrides[0]!r}.")
    model = open_model(request.model)
    facts = read_json(model.folder / ENCODER_FACTS)
    source = model.folder / ENCODER
    if not source.is_file() or sha256(source) != facts["sha256"]:
        raise BadDataError(
            f"{source}: missing or damaged, its checksum is not the one in {ENCODER_FACTS}. Run "
            "the training's command again; it writes the encoder anew."
        )
    request.output.mkdir(parents=True, exist_ok=True)
    write_bytes(request.output / ENCODER, source.read_bytes())
    told = {key: model.content.get(key) for key in ("window_hu", "spacing_mm", "crop", "dataset")}
    write_json(request.output / ENCODER_FACTS, {**facts, "pretraining": told})
    lines = [f"{len(facts['tensors'])} tensors of {facts['network']['name']}'s encoder"]
    following = ("medssm", "train", "YOUR_FOLDER", f"network={facts['network']['name']}",
                 f"init={request.output}")  # fmt: skip
    written = [request.output / ENCODER, request.output / ENCODER_FACTS]
    return Answer({"tensors": len(facts["tensors"]), **facts}, lines, written, following)


def _bundle(request: ExportRequest) -> Answer:
    from medssm.bundle.case_bundle import bundle_answer
    from medssm.fields.pretraining.bundle import BundleConfig, write_bundle

    def write(config: BundleConfig) -> dict[str, Any]:
        model = open_model(request.model)
        return write_bundle(model, request.output, request.embed, config, request.home)

    return bundle_answer(request, BundleConfig, write)
