"""Export: the pre-trained encoder, as weights with the network that they fit, or as a bundle."""

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, sha256, write_bytes, write_json
from medssm.core.signature import make
from medssm.fields.pretraining.model_folder import open_model
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
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
    from medssm.bundle.folder import check_free
    from medssm.fields.pretraining.bundle import BundleConfig, write_bundle

    config: BundleConfig = make(BundleConfig, parse_values(request.overrides), "export")
    check_free(request.output, request.force)
    model = open_model(request.model)
    figures = write_bundle(model, request.output, request.embed, config, request.home)
    facts = {"kind": "bundle", "file": str(request.output), **figures}
    return Answer(facts, [f"{name}: {value}" for name, value in figures.items()], [request.output])
