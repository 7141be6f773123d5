"""What a user says of foreign bag weights: our words or the authors', complete or refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from medssm.core.errors import UsageError

WORDS = {
    "in_dim": "in_channels",
    "embed_dim": "in_channels",
    "n_classes": "out_channels",
    "layer": "depth",
    "act": "activation",
    "survival": "head",
    "size_arg": "size",
}
"""A word of the authors' constructors to the name of our argument."""
DROPOUT = 0.25
"""What the authors' code takes where dropout is only said to be on."""


def in_our_words(hints: Mapping[str, Any], other_activation: str = "none") -> dict[str, Any]:
    """Hints under our names and with our values.

    Args:
        hints: As the user gave them.
        other_activation: What the authors' code does on a name that is neither relu nor gelu.
    """
    said = {WORDS.get(name, name): value for name, value in hints.items()}
    if "act" in hints:
        name = str(hints["act"]).lower()
        said["activation"] = name if name in ("relu", "gelu") else other_activation
    if "survival" in hints:
        said["head"] = "survival" if hints["survival"] else "classification"
    if isinstance(said.get("dropout"), bool):
        said["dropout"] = DROPOUT if said["dropout"] else 0.0
    return said


def require_said(said: Mapping[str, Any], wanted: Sequence[str], example: str) -> None:
    """Refuse weights of which something is not known.

    Raises:
        UsageError: A hint is missing that leaves no trace in the weights.
    """
    missing = [name for name in wanted if said.get(name) is None]
    if missing:
        raise UsageError(
            f"these weights do not tell {' and '.join(missing)}, and another choice would load "
            f"without complaint and answer wrongly. Say it, e.g. {example}."
        )
