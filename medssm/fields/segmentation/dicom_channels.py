"""Which series of a study is which channel of a model, and whether its modality can be right."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medssm.core.errors import UsageError
from medssm.data.dicom.headers import DicomHeader
from medssm.data.dicom.series import SeriesNote, SeriesVolume, describe
from medssm.data.reasons import Reason

_WORDS = re.compile(r"[a-z0-9]+")
# what channels are called in training, by the modality that DICOM calls it
_CALLED = {
    "CT": ("ct", "cta", "cect", "ncct"),
    "PT": ("pet", "pt", "suv"),
    "MR": (
        "mr", "mri", "t1", "t1w", "t1c", "t1ce", "t1gd", "t1n", "t2", "t2w", "t2f", "flair", "dwi",
        "adc", "pd", "pdw", "swi", "dce", "cine",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ChosenSeries:
    """The volumes of one case.

    Args:
        name: Of the case.
        channels: One volume a channel, in the model's order.
    """

    name: str
    channels: tuple[SeriesVolume, ...]


def expected_modalities(names: Mapping[str, str], wish: str) -> list[str | None]:
    """The modality of every channel, None where any will do.

    Args:
        names: Channel number to name, as dataset.json has them.
        wish: "auto" goes by the names, "any" allows all, another word is the modality.

    Raises:
        UsageError: The wish is no modality.
    """
    if wish == "any":
        return [None] * len(names)
    if wish != "auto":
        if not re.fullmatch(r"[A-Z]{2,16}", wish):
            raise UsageError(f"modality={wish!r}: expected auto, any or a DICOM word such as CT.")
        return [wish] * len(names)
    found: list[str | None] = []
    for _, name in sorted(names.items(), key=lambda item: int(item[0])):
        words = _WORDS.findall(name.lower())
        fitting = [kind for kind, called in _CALLED.items() if set(words) & set(called)]
        found.append(fitting[0] if len(fitting) == 1 else None)
    return found


def choose_series(
    volumes: Sequence[SeriesVolume], words: Sequence[str] | None, modalities: Sequence[str | None]
) -> tuple[list[ChosenSeries], list[SeriesNote]]:
    """Sort volumes into cases.

    Args:
        volumes: All that there are.
        words: One a channel, found in the description or protocol of its series; with one channel
            None takes every volume.
        modalities: Of every channel.

    Returns:
        The cases, and a note for every volume that is in none.

    Raises:
        UsageError: The words do not fit the channels.
    """
    count = len(modalities)
    if words is None and count > 1:
        raise UsageError(
            f"the model takes {count} channels, and DICOM does not say which series is which. Name "
            "a word of each channel's series description, in the model's order: "
            f"channels=[{','.join(f'WORD{index + 1}' for index in range(count))}]"
        )
    if words is not None and len(words) != count:
        raise UsageError(f"channels: {len(words)} words for a model of {count} channel(s).")
    if count == 1:
        return _each(volumes, words, modalities[0])
    assert words is not None
    cases: list[ChosenSeries] = []
    notes: list[SeriesNote] = []
    for study in _studies(volumes):
        case, more = _of_study(study, words, modalities)
        cases += [case] if case else []
        notes += more
    return cases, notes


def _each(
    volumes: Sequence[SeriesVolume], words: Sequence[str] | None, modality: str | None
) -> tuple[list[ChosenSeries], list[SeriesNote]]:
    cases: list[ChosenSeries] = []
    notes: list[SeriesNote] = []
    for volume in volumes:
        if words is not None and not _is_called(volume.header, words[0]):
            notes.append(_unused(volume, f"left out: its description does not hold {words[0]!r}"))
        elif modality not in (None, volume.header.modality):
            notes.append(wrong_modality(volume, modality))
        else:
            cases.append(ChosenSeries(volume.name, (volume,)))
    return cases, notes


def _of_study(
    study: Sequence[SeriesVolume], words: Sequence[str], modalities: Sequence[str | None]
) -> tuple[ChosenSeries | None, list[SeriesNote]]:
    candidates = [
        _fitting([each for each in study if modality in (None, each.header.modality)], word)
        for word, modality in zip(words, modalities, strict=True)
    ]
    problem = _problem(candidates, words)
    if problem and any(candidates):
        action = f"left out: {problem}"
        return None, [_unused(each, action, Reason.CHANNELS_MISSING) for each in study]
    chosen = () if problem else tuple(found[0] for found in candidates)
    taken = {each.name for each in chosen}
    rest = [
        _unused(each, "left out: its description is none of channels")
        for each in study
        if each.name not in taken
    ]
    return (ChosenSeries(chosen[0].name, chosen) if chosen else None), rest


def _problem(candidates: Sequence[Sequence[SeriesVolume]], words: Sequence[str]) -> str:
    """Why a study has no series for every channel, or ""."""
    if any(len(found) != 1 for found in candidates):
        told = ", ".join(
            f"{word!r} fits {len(found)}" for word, found in zip(words, candidates, strict=True)
        )
        return f"of the series of its study {told}"
    chosen = [found[0] for found in candidates]
    if len({each.name for each in chosen}) < len(chosen):
        return "two channels are one series"
    if len({each.header.reference for each in chosen}) > 1:
        return "the channels have several frames of reference; register the series first"
    return ""


def _studies(volumes: Sequence[SeriesVolume]) -> list[list[SeriesVolume]]:
    found: dict[tuple[str, str], list[SeriesVolume]] = {}
    for volume in volumes:
        found.setdefault((volume.header.patient, volume.header.study), []).append(volume)
    return list(found.values())


def _fitting(volumes: Sequence[SeriesVolume], word: str) -> list[SeriesVolume]:
    """Those called so; those called exactly so where there are such."""
    found = [each for each in volumes if _is_called(each.header, word)]
    exact = [each for each in found if _description(each.header) == word.strip().casefold()]
    return exact or found


def _is_called(header: DicomHeader, word: str) -> bool:
    wanted = word.strip().casefold()
    return wanted in _description(header) or wanted in header.notes.get("protocol", "").casefold()


def _description(header: DicomHeader) -> str:
    return header.notes.get("description", "").strip().casefold()


def _unused(volume: SeriesVolume, action: str, reason: Reason = Reason.NOT_CHOSEN) -> SeriesNote:
    fault = reason == Reason.CHANNELS_MISSING
    note = describe(volume, action)
    return SeriesNote(note.series, note.found, action, str(reason), fault)


def wrong_modality(volume: SeriesVolume, modality: str | None) -> SeriesNote:
    """The note of a volume that the model was not made for."""
    action = f"left out: the model takes {modality}; modality=any predicts it nevertheless"
    return _unused(volume, action, Reason.WRONG_MODALITY)
