"""The twelve leads: their order, the names that devices give them, and what follows from two."""

import re

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB_LEADS = LEADS[:6]
# III, aVR, aVL, aVF as sums of I and II (Einthoven and Goldberger)
_OF_I_AND_II = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
_COEFFICIENTS = {"I": (1.0, 0.0), "II": (0.0, 1.0), **_OF_I_AND_II}
_BY_LOWER = {lead.lower(): lead for lead in LEADS}
_PREFIX = re.compile(r"^(?:ecg|ekg|lead)[\s_:.-]*", re.IGNORECASE)
# a bracket such as (Einthoven) or (Goldberger), and what EDF files hang on, such as -Ref
_SUFFIX = re.compile(r"\s*(?:\(.*\)|\[.*\]|[-_ ](?:ref|raw|mv|uv))$", re.IGNORECASE)


def canonical_lead(name: str) -> str | None:
    """Our name of a lead, or None for what is none of the twelve (MLII is not II).

    Args:
        name: As a file says it: "AVR", "avr", "Lead I (Einthoven)", "ECG V1-Ref".
    """
    word = _SUFFIX.sub("", _PREFIX.sub("", name.strip())).strip()
    return _BY_LOWER.get(word.lower())


def derive_limb_leads(known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The limb leads that follow from those known.

    Args:
        known: Signals in mV by lead, with at least two limb leads where something is to follow.

    Returns:
        The missing limb leads; nothing where fewer than two are known.

    Source:
        Einthoven: III = II - I. Goldberger: aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2.
    """
    given = [lead for lead in LIMB_LEADS if lead in known]
    if len(given) < 2:
        return {}
    rows = np.array([_COEFFICIENTS[lead] for lead in given[:2]])
    # any two limb leads are independent, so that I and II follow from them
    inverse = np.linalg.inv(rows)
    first, second = (known[lead] for lead in given[:2])
    basis = [row[0] * first + row[1] * second for row in inverse]
    return {
        lead: (a * basis[0] + b * basis[1]).astype(np.float32)
        for lead, (a, b) in _COEFFICIENTS.items()
        if lead not in known
    }
