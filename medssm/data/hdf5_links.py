"""HDF5 files that take their numbers from other files: found, so that readers refuse them."""

from typing import Any

REMEDY = "Copy the numbers into one file, for instance with h5repack"


def member_elsewhere(content: Any) -> str | None:
    """The first member of an open file whose numbers lie in another file.

    External links, virtual datasets and external raw storage name any file that is readable to
    whoever opens them.

    Args:
        content: A file of h5py.

    Returns:
        The member's name, or None.
    """

    def elsewhere(name: str, link: Any) -> str | None:
        kind = type(link).__name__
        if kind == "ExternalLink":
            return name
        # a soft link stays in the file unless it passes one of those above
        if kind != "HardLink" or not hasattr(member := content[name], "is_virtual"):
            return None
        return name if member.is_virtual or member.external else None

    found: str | None = content.visititems_links(elsewhere)
    return found
