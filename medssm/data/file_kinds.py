"""What a file of an archive is, by its first bytes and never by its name."""

import zlib
from pathlib import PurePosixPath
from typing import Literal

from medssm.data.dicom.headers import is_dicom
from medssm.data.reasons import Reason

FileKind = Literal["dicom", "nifti", "itk", "zip", "none"]
HEAD_BYTES = 4096
_SYSTEM = (".ds_store", "thumbs.db", "desktop.ini")
# group 0008, element 0000, 0005, 0008 or 0016: DICOM that lost its preamble
_BARE_DICOM = tuple(b"\x08\x00" + element for element in (b"\0\0", b"\5\0", b"\x08\0", b"\x16\0"))
_NIFTI = (b"n+1\0", b"ni1\0")
_NIFTI_2 = (b"n+2\0", b"ni2\0")


def kind_of(name: str, head: bytes) -> tuple[FileKind, Reason | None]:
    """Say what a file is.

    Args:
        name: Its name, for the files that systems leave about.
        head: Its first `HEAD_BYTES`.

    Returns:
        The kind, and for "none" why it is nothing of ours.
    """
    base = PurePosixPath(name).name
    if base.startswith("._") or base.lower() in _SYSTEM:
        return "none", Reason.SYSTEM_FILE
    if not head:
        return "none", Reason.EMPTY_FILE
    if is_dicom(head) or head.startswith(_BARE_DICOM):
        return "dicom", None
    if head.startswith(b"PK\x03\x04"):
        return "zip", None
    if _is_nifti(_unpacked(head)):
        return "nifti", None
    if head.startswith(b"NRRD000") or _is_meta(head):
        return "itk", None
    return "none", Reason.NOT_AN_IMAGE


def suffix_of(kind: FileKind, name: str, head: bytes) -> str:
    """The ending by which readers know a file, whatever it is called."""
    if kind == "nifti":
        packed = head.startswith(b"\x1f\x8b")
        pair = name.lower().endswith(".hdr")
        return ".hdr" if pair else ".nii.gz" if packed else ".nii"
    if head.startswith(b"NRRD"):
        return ".nhdr" if name.lower().endswith(".nhdr") else ".nrrd"
    return ".mhd" if name.lower().endswith(".mhd") else ".mha"


def _unpacked(head: bytes) -> bytes:
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        # a header and no more: what follows may be a bomb
        return zlib.decompressobj(47).decompress(head, 1024)
    except zlib.error:
        return b""


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in _NIFTI or head[4:8] in _NIFTI_2


def _is_meta(head: bytes) -> bool:
    text = head[:512]
    return b"NDims" in text and text.lstrip().startswith((b"ObjectType", b"NDims", b"Comment"))
