"""Floor 5: the fields, each with the same stages."""

from medssm.core.registry import Table

# what a data set's or a model's "field" stands for
FIELDS = Table(
    "field",
    {
        "ecg": "medssm.fields.ecg.stages:FIELD",
        "segmentation": "medssm.fields.segmentation.stages:FIELD",
        "pathology": "medssm.fields.pathology.stages:FIELD",
        "reconstruction": "medssm.fields.reconstruction.stages:FIELD",
        "pretraining": "medssm.fields.pretraining.stages:FIELD",
    },
    "medssm.fields",
)

# what MODEL may say in place of a folder -> its field
BUILT_IN_MODELS = {"baseline": "reconstruction"}
