"""Preprocess: slides to features of their tiles, slide by slide, each with a record."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import medssm
from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import digest, remove_temporaries, sha256, write_json
from medssm.core.log import Progress, detail, say, warn
from medssm.data.bags import write_bag
from medssm.data.slides import READERS, Slide, open_slide, resolve_mpp
from medssm.fields.pathology.encoders import RANDOM, EncoderConfig, PatchEncoder, build_encoder
from medssm.fields.pathology.exchange import TOOLS, hand_over
from medssm.fields.pathology.preprocess_report import PreprocessReport, Tally
from medssm.fields.pathology.slide_record import done_before, fingerprint, forget, write_record
from medssm.fields.pathology.tile_encoding import Encoded, encode_tiles
from medssm.fields.pathology.tiling import TileConfig, Tiling, given_places, tile_slide
from medssm.fields.pathology.tissue import TissueConfig, TissueMask, find_tissue
from medssm.inference.device import choose_device, describe_device

# coordinates of failed tiles are told up to here; an HDF5 attribute holds 64 KiB
_MOST_TOLD = 500


@dataclass(frozen=True)
class SlideInput:
    """One slide to preprocess.

    Args:
        path: The file.
        mpp: Micrometres a pixel at level 0, where the user says it.
    """

    path: Path
    mpp: float | None = None


@dataclass(frozen=True)
class PreprocessConfig:
    """What a user may say about preprocessing.

    Args:
        encoder: Tiles to features.
        tissue: What counts as tissue.
        tiles: How a slide is cut.
        mpp: Of level 0 of the slides that do not tell it themselves, by their row or file.
        reader: "auto", or the package that reads the slides.
        worst_failed_share: Share of tiles that cannot be decoded above which a slide fails.
        threads: That read tiles while others are encoded.
        also: Tools in whose files the features are written once more, clam and trident.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    tissue: TissueConfig = field(default_factory=TissueConfig)
    tiles: TileConfig = field(default_factory=TileConfig)
    mpp: float | None = None
    reader: str = "auto"
    worst_failed_share: float = 0.01
    threads: int = 2
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.reader != "auto":
            READERS.load(self.reader)
        for tool in self.also:
            if tool not in TOOLS:
                raise UsageError(f"preprocess.also={tool!r}; {nearest(tool, TOOLS)}")
        if not 0 <= self.worst_failed_share < 1:
            raise UsageError(
                f"preprocess.worst_failed_share={self.worst_failed_share}; expected 0 to below 1."
            )

    @property
    def tissue_config(self) -> TissueConfig:
        """How tissue is found; tiles as CLAM places them go by CLAM's own mask."""
        if self.tissue.method != "auto":
            return self.tissue
        return replace(self.tissue, method="clam" if self.tiles.mode == "clam" else "otsu")

    @property
    def identifier(self) -> str:
        """Encoder and tiles in a word that names a folder."""
        tiles = self.tiles
        scale = {
            "mpp": f"{tiles.mpp:g}mpp",
            "trident": f"trident{tiles.magnification}x",
            "clam": f"clam_level{tiles.level}",
            "file": "given",
        }[tiles.mode]
        return re.sub(r"[^\w.-]+", "_", f"{self.encoder.name}_{tiles.size_px}px_{scale}")

    def settings(self) -> str:
        """A hash of what decides the features of a slide; not of what decides the speed."""
        plain = asdict(self)
        for name in ("batch_size", "device"):
            plain["encoder"].pop(name)
        # a record notes whether mpp was asked of a slide at all
        for name in ("threads", "also", "mpp"):
            plain.pop(name)
        weights = self.encoder.weights
        if weights not in (None, RANDOM) and Path(str(weights)).expanduser().is_file():
            plain["encoder"]["weights"] = sha256(Path(str(weights)).expanduser())
        return digest(plain)


def store_folder(preprocessed: Path, config: PreprocessConfig) -> Path:
    """Where the features of a data set lie for one encoder and way of tiling."""
    return preprocessed / "features" / config.identifier


def preprocess_slides(
    config: PreprocessConfig, slides: Mapping[str, SlideInput], folder: Path, force: bool = False
) -> PreprocessReport:
    """Encode slides into SLIDE.h5 files; what is there and fits is left alone.

    Args:
        config: How.
        slides: The slides by id.
        folder: Gets SLIDE.h5, encoder.json and records. A run that is killed leaves whole files
            or none, and the next one goes on.
        force: Encode every slide again.

    Returns:
        What became of each; slides that fail are named there, with the reason, and the others
        are done.

    Raises:
        UsageError: The encoder is unknown or has no weights.
        MachineError: A package is missing.
    """
    remove_temporaries(folder)
    common = config.settings()
    settings = {name: _settings_of(each, config, common) for name, each in slides.items()}
    records = {} if force else {
        name: record
        for name, each in slides.items()
        if (record := done_before(folder, name, settings[name], each.path)) is not None
        and record.get("mpp_asked") in (None, config.mpp)
    }  # fmt: skip
    todo = {name: each for name, each in slides.items() if name not in records}
    tally = Tally(folder)
    for name, record in records.items():
        tally.skip(name, record)
    if todo:
        if records:
            say("%d of %d slides are encoded already.", len(records), len(slides))
        _encode_all(todo, config, folder, tally, settings)
    report = tally.report()
    hand_over(folder, [*report.done, *report.skipped], config.also)
    return report


def _encode_all(
    todo: Mapping[str, SlideInput],
    config: PreprocessConfig,
    folder: Path,
    tally: Tally,
    settings: Mapping[str, str],
) -> None:
    device = choose_device(config.encoder.device)
    encoder = build_encoder(config.encoder).to(device)
    say("encoder %s on %s", config.encoder.name, describe_device(device))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "encoder.json", encoder.facts)
    bar = Progress(len(todo), "slides")
    for name, each in todo.items():
        forget(folder, name)
        try:
            facts = _one(name, each, config, encoder, folder)
        except BadDataError as error:
            warn("%s failed: %s", name, error)
            tally.failed[name] = str(error)
            # a file of older settings must not stand for a slide that fails with these
            (folder / f"{name}.h5").unlink(missing_ok=True)
        else:
            write_record(folder, name, settings[name], each.path, facts)
            tally.add(name, facts)
        bar.step(name)


def _settings_of(slide: SlideInput, config: PreprocessConfig, common: str) -> str:
    """A hash of what decides the features of one slide beside its pixels."""
    places = given_places(config.tiles, slide.path)
    return digest([common, slide.mpp, None if places is None else sha256(places)])


def _one(
    name: str, given: SlideInput, config: PreprocessConfig, encoder: PatchEncoder, folder: Path
) -> dict[str, Any]:
    """Encode one slide and write its features; what the record tells of it."""
    with open_slide(given.path, config.reader) as slide:
        mpp, asked = _mpp(slide, given, config)
        tissue = find_tissue(slide, mpp, config.tissue_config)
        tiling = tile_slide(slide, mpp, tissue, config.tiles)
        reason = tissue.reason or ("" if len(tiling.coords) else "no tile holds enough tissue")
        encoded = encode_tiles(slide, tiling, encoder, config.encoder.batch_size, config.threads)
        _refuse_many_failed(slide, encoded, len(tiling.coords), config.worst_failed_share)
        facts = _facts(name, slide, mpp, tiling, config)
        facts |= {
            **_of_tissue(tissue),
            "tissue_tiles": len(tiling.coords),
            "n_failed_tiles": len(encoded.failed),
            "failed_coords": encoded.failed[:_MOST_TOLD].tolist(),
            "encoder": encoder.facts["encoder"],
            "encoder_sha256": encoder.facts["encoder_sha256"],
        }
        degraded = slide.degraded
    write_bag(folder / f"{name}.h5", encoded.features, encoded.coords, facts)
    if len(encoded.failed):
        warn("%s: %d of %d tiles cannot be decoded; left out", name, len(encoded.failed),
             len(tiling.coords))  # fmt: skip
    if reason:
        warn("%s: no tissue (%s); its file of features has no rows", name, reason)
    detail("%s: %d tiles", name, len(encoded.coords))
    return {
        "tiles": len(encoded.coords),
        "failed_tiles": len(encoded.failed),
        "no_tissue": reason,
        "degraded": degraded,
        "mpp": mpp,
        "mpp_asked": asked,
    }


def _mpp(slide: Slide, given: SlideInput, config: PreprocessConfig) -> tuple[float, float | None]:
    """Micrometres a pixel, and the user's value for all if it was needed."""
    try:
        return resolve_mpp(slide, given.mpp), None
    except BadDataError:
        return resolve_mpp(slide, given.mpp, config.mpp), config.mpp


def _refuse_many_failed(slide: Slide, encoded: Encoded, count: int, worst: float) -> None:
    failed = len(encoded.failed)
    if failed and failed > worst * count:
        raise BadDataError(
            f"{slide.path}: {failed} of {count} tiles on tissue cannot be decoded by "
            f"{slide.reader}, the first at {encoded.failed[0].tolist()}; expected at most "
            f"{worst:.1%}. The file is damaged ({slide.path.stat().st_size} bytes): copy it "
            "again, or allow more with preprocess.worst_failed_share=0.1."
        )


def _of_tissue(tissue: TissueMask) -> dict[str, Any]:
    return {"tissue_share": tissue.share, "tissue_threshold": tissue.threshold}


def _facts(
    name: str, slide: Slide, mpp: float, tiling: Tiling, config: PreprocessConfig
) -> dict[str, Any]:
    """What the file tells of its tiles: TRIDENT's names first, then ours."""
    tiles = config.tiles
    level = slide.best_level(tiling.size_level0 / tiling.size_px)
    ratio = tiling.size_level0 / tiling.size_px
    power = tiling.magnification or slide.scan.magnification
    return {
        "name": name,
        "patch_size": tiling.size_px,
        "patch_size_level0": round(tiling.size_level0),
        "level0_magnification": power,
        "target_magnification": tiles.magnification if tiles.mode == "trident" else (
            power and power / ratio
        ),
        "overlap": tiles.overlap_px,
        "level0_width": slide.size[0],
        "level0_height": slide.size[1],
        "mode": tiles.mode,
        "mpp_level0": mpp,
        "mpp_target": mpp * ratio,
        "tile_px": tiling.size_px,
        "tile_px_level0": tiling.size_level0,
        "overlap_px": tiles.overlap_px,
        "order": tiles.stored_order,
        "read_level": level,
        "level_downsample": slide.downsamples[level][0],
        "origin": list(slide.scan.origin),
        "reader": slide.reader,
        "degraded": slide.degraded,
        "slide_sha256_first_last_MiB": fingerprint(slide.path)["sha256_first_last_MiB"],
        "tool_version": medssm.__version__,
    }  # fmt: skip
