"""The layouts in which data sets of the papers are handed out, by the name that `import` takes."""

from medssm.core.registry import Table

PUBLISHED = Table(
    "published layout",
    {
        "isic": "medssm.data.published.isic:scan_isic",
        "lungs": "medssm.data.published.lungs:scan_lungs",
        "synapse": "medssm.data.published.synapse:scan_synapse",
        "acdc": "medssm.data.published.acdc:scan_acdc",
        "lits": "medssm.data.published.lits:scan_lits",
    },
)
# those whose pictures are written anew, and so can be written smaller
RESIZED = ("isic", "lungs")
