"""Labels as coded terms: DICOM's own lists of what is segmented, else a code of ours."""

import re
from dataclasses import dataclass
from typing import Any

from medssm.core.extras import require
from medssm.data.dicom.headers import EXTRA, blake

OURS = "99MEDSSM"
"""The designator of codes that no standard knows."""
# PS3.16: anatomical structures, abnormal structures, tissues, body substances
_LISTS = (
    ("cid7192", "AnatomicalStructure"),
    ("cid7194", "MorphologicallyAbnormalStructure"),
    ("cid7191", "Tissue"),
    ("cid7197", "BodySubstance"),
)
_SIDES = {"left": "Left", "right": "Right", "l": "Left", "r": "Right"}
# what data sets call things, as the lists call them
_ALIASES = {
    "tumor": "neoplasm", "tumour": "neoplasm", "cancer": "neoplasm", "metastasis":
    "neoplasm secondary", "oedema": "edema", "haemorrhage": "hemorrhage", "oesophagus": "esophagus",
    "urinary bladder": "bladder", "gall bladder": "gallbladder", "lv": "left ventricle",
    "rv": "right ventricle", "la": "left atrium", "ra": "right atrium",
    "heart atrium left": "left atrium", "heart atrium right": "right atrium",
    "heart ventricle left": "left ventricle", "heart ventricle right": "right ventricle",
    "small bowel": "small intestine", "large bowel": "colon", "brainstem": "brain stem",
    "fat": "adipose tissue", "bone": "bone tissue", "muscle": "muscle tissue",
    "clavicula": "clavicle",
}  # fmt: skip
_WORDS = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class CodedTerm:
    """What a segment is.

    Args:
        category: Kind of thing, a pydicom Code.
        kind: The thing, a pydicom Code.
        side: "Left" or "Right" as a pydicom Code, or None.
    """

    category: Any
    kind: Any
    side: Any = None


def coded_term(label: str) -> CodedTerm:
    """The term of a label.

    A name that DICOM's lists hold gets the SNOMED code there, a side as its modifier; any other
    one a code of our own with the label as its meaning.

    Args:
        label: As the model calls it, e.g. "kidney_left" or "vertebrae L1".

    Raises:
        MachineError: pydicom is missing.

    Source:
        DICOM PS3.16, CID 7150, 7191, 7192, 7194, 7197 and 244.
    """
    codes = require("pydicom.sr.codedict", EXTRA).codes
    words = _WORDS.findall(label.lower())
    sides = [_SIDES[word] for word in words if word in _SIDES]
    bare = [word for word in words if word not in _SIDES]
    # "left ventricle" is a thing of its own, "left kidney" is not
    for side, attempt in ((None, words), (sides[0] if len(sides) == 1 else None, bare)):
        for list_name, category in _LISTS:
            for name in _names(attempt):
                kind = getattr(getattr(codes, list_name), name, None)
                if kind is not None:
                    modifier = getattr(codes.SCT, side) if side else None
                    return CodedTerm(getattr(codes.cid7150, category), kind, modifier)
    coding = require("pydicom.sr.coding", EXTRA)
    value = "_".join(words).upper()
    if not 0 < len(value) <= 16:
        # a code value has 16 signs at most
        value = blake(label.encode()).upper()[:16]
    return CodedTerm(codes.cid7150.Tissue, coding.Code(value, OURS, label[:64] or value))


def _names(words: list[str]) -> list[str]:
    """How the lists may spell some words: in their order, or "upper lobe of lung"."""
    text = _ALIASES.get(" ".join(words), " ".join(words)).split()
    if not text:
        return []
    if text[0] in ("vertebra", "vertebrae") and len(text) == 2:
        return [f"{text[1].upper()}Vertebra"]
    found = ["".join(word.capitalize() for word in text)]
    if len(text) > 1:
        turned = "".join(word.capitalize() for word in text[1:])
        found.append(f"{turned}Of{text[0].capitalize()}")
    return found
