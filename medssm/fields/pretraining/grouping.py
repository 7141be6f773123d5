"""Which volumes belong to one person, and on which side of the split that person is."""

import hashlib
from collections.abc import Iterable, Mapping


def group_volumes(patients: Mapping[str, str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Volume to group: patients, those who share a scan joined.

    A group is called by its least volume, so that a site's secret decides nothing: the same scans
    are split the same everywhere.

    Args:
        patients: Volume to patient.
        pairs: Volumes that are the same scan.
    """
    parent: dict[str, str] = {}

    def root(patient: str) -> str:
        while parent.setdefault(patient, patient) != patient:
            patient = parent[patient]
        return patient

    for one, other in pairs:
        ends = sorted((root(patients[one]), root(patients[other])))
        parent[ends[1]] = ends[0]
    roots = {name: root(patient) for name, patient in patients.items()}
    names: dict[str, str] = {}
    for name in sorted(roots):
        names.setdefault(roots[name], name)
    return {name: names[group] for name, group in roots.items()}


def split_groups(groups: Mapping[str, str], share: float, seed: int) -> dict[str, str]:
    """Volume to "train" or "val", whole groups on one side, at least one on each where two are.

    Args:
        groups: Volume to group.
        share: Of the groups that is held back.
        seed: Of the order in which they are taken.
    """

    def key(group: str) -> str:
        return hashlib.blake2b(f"{seed}|{group}".encode(), digest_size=16).hexdigest()

    order = sorted(set(groups.values()), key=key)
    count = 0 if share == 0 or len(order) < 2 else max(1, round(share * len(order)))
    held = set(order[: min(count, len(order) - 1)])
    return {name: "val" if group in held else "train" for name, group in groups.items()}
