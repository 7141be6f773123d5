"""Floor 5: the fields, each with the same stages."""

from medssm.core.registry import Table

# what a data set's "field" stands for: the function that opens a study of it
FIELDS = Table(
    "field", {"segmentation": "medssm.fields.segmentation.story:open_study"}, "medssm.fields"
)
