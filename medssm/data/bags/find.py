"""Feature files of a folder, one a slide, in the folders of CLAM, TRIDENT or ours."""

from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import is_temporary
from medssm.data.bags.bag import is_hdf5
from medssm.data.bags.slide_table import FEATURE_ENDINGS, slide_id

# folders of CLAM and TRIDENT that hold one file a slide, best first: HDF5 knows the places
_FOLDERS = ("h5_files", "pt_files")


def find_bags(folder: Path) -> dict[str, Path]:
    """Find one feature file a slide in a folder of CLAM, TRIDENT or ours.

    Args:
        folder: It, or what it holds: h5_files/, pt_files/, features_ENCODER/, or files directly.

    Returns:
        Files by slide id; HDF5 where a slide has both kinds, since it tells the places.

    Raises:
        BadDataError: No file, several encoders, or two files for a slide.
    """
    folder = Path(folder)
    direct = _files_of(folder)
    if direct:
        return _one_a_slide(direct)
    places = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
    encoders = sorted(path for path in folder.glob("**/features_*") if path.is_dir())
    if not places and len(encoders) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in encoders)
        raise BadDataError(f"{folder}: features of several encoders ({names}). Give one of them.")
    found: dict[str, Path] = {}
    for place in places or encoders:
        for name, file in _one_a_slide(sorted(place.rglob("*"))).items():
            found.setdefault(name, file)
    if not found:
        raise BadDataError(
            f"{folder}: no feature files. Expected .h5 or .pt files, directly or in h5_files/, "
            "pt_files/ (CLAM) or features_ENCODER/ (TRIDENT)."
        )
    return dict(sorted(found.items()))


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if _is_feature_file(path))


def _is_feature_file(path: Path) -> bool:
    return path.suffix.lower() in FEATURE_ENDINGS and path.is_file() and not is_temporary(path)


def _one_a_slide(files: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in filter(_is_feature_file, files):
        name = slide_id(slide_id(file.name))
        before = found.get(name)
        if before is not None and is_hdf5(before) == is_hdf5(file):
            raise BadDataError(
                f"{file} and {before} are both the features of {name!r}. Expected one file a "
                "slide; take one of them away."
            )
        if before is None or is_hdf5(file):
            found[name] = file
    return found
