"""Our features in the folders of CLAM, MambaMIL and TRIDENT, for those who go on with these."""

from collections.abc import Iterable
from pathlib import Path

from medssm.core.files import remove_temporaries
from medssm.core.log import warn
from medssm.data.bags import Bag, TileCoords, read_bag, write_bag, write_tile_coords

TOOLS = ("clam", "trident")


def hand_over(folder: Path, names: Iterable[str], tools: Iterable[str]) -> list[Path]:
    """Write the features of a store once more, as other tools lay them out.

    Args:
        folder: With SLIDE.h5 of ours.
        names: The slides.
        tools: "clam" writes clam/{patches,h5_files,pt_files}, where no file stands for a slide
            without tiles; "trident" writes trident/20x_256px_0px_overlap/{patches,
            features_ENCODER}.

    Returns:
        The folders that a tool takes as its own.
    """
    names, roots = list(names), []
    for tool in dict.fromkeys(tools):
        root = folder / tool
        for place in filter(Path.is_dir, root.rglob("*")):
            remove_temporaries(place)
        for name in names:
            source = folder / f"{name}.h5"
            files = _clam_files(root, name) if tool == "clam" else ()
            if files and all(_is_newer(file, source) for file in files):
                continue
            bag = read_bag(source)
            if tool == "clam":
                _clam(root, bag)
            else:
                _trident(root, bag)
        roots.append(root)
    return roots


def _is_newer(file: Path, source: Path) -> bool:
    return file.is_file() and file.stat().st_mtime_ns >= source.stat().st_mtime_ns


def _clam_files(root: Path, name: str) -> tuple[Path, Path, Path]:
    return (
        root / "patches" / f"{name}.h5",
        root / "h5_files" / f"{name}.h5",
        root / "pt_files" / f"{name}.pt",
    )


def _clam(root: Path, bag: Bag) -> None:
    places, features, tensor = _clam_files(root, bag.name)
    if not len(bag):
        for file in (places, features, tensor):
            file.unlink(missing_ok=True)
        warn("%s: no tiles, so CLAM gets no file", bag.name)
        return
    write_tile_coords(places, tile_coords(bag), "clam")
    write_bag(features, bag.features, bag.coords, layout="clam")
    write_bag(tensor, bag.features, None, layout="pt")


def _trident(root: Path, bag: Bag) -> None:
    facts = bag.facts
    power = facts.get("target_magnification") or 10 / float(facts["mpp_target"])
    inner = root / f"{round(power)}x_{facts['tile_px']}px_{facts['overlap_px']}px_overlap"
    file = inner / f"features_{facts['encoder']}" / f"{bag.name}.h5"
    if _is_newer(file, bag.source):
        return
    write_tile_coords(inner / "patches" / f"{bag.name}_patches.h5", tile_coords(bag), "trident")
    write_bag(file, bag.features, bag.coords, facts, "trident")


def tile_coords(bag: Bag) -> TileCoords:
    """The places of a bag of ours."""
    assert bag.coords is not None
    facts = bag.facts
    return TileCoords(
        name=bag.name,
        coords=bag.coords,
        tile_px=int(facts["tile_px"]),
        tile_px_level0=float(facts["tile_px_level0"]),
        overlap_px=int(facts["overlap_px"]),
        size_level0=(int(facts["level0_width"]), int(facts["level0_height"])),
        facts=facts,
    )
