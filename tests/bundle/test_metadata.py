"""metadata.json: what MONAI's schema demands is there, and what is not is named."""

import pytest

from medssm.bundle.metadata import Facts, check_metadata, metadata
from medssm.core.errors import MedssmError

FACTS = Facts(
    name="x", task="t", description="d", channels=["MRI"], outputs=["background", "a"],
    modality="MR", divisors=(8, 8, 8), regions=False, embedded=True, figures={}, licence="CC0",
    references=[],
)  # fmt: skip


def test_what_is_written_is_what_the_schema_demands():
    content = metadata(FACTS)
    check_metadata(content)
    shape = content["network_data_format"]["inputs"]["image"]["spatial_shape"]
    assert shape == ["16*n", "16*n", "16*n"]
    assert "medssm" not in content["required_packages_version"]


@pytest.mark.parametrize("missing", ["task", "network_data_format", "monai_version"])
def test_a_missing_field_is_named(missing):
    content = {key: value for key, value in metadata(FACTS).items() if key != missing}
    with pytest.raises(MedssmError, match=missing):
        check_metadata(content)


def test_a_tensor_without_channels_is_named():
    content = metadata(FACTS)
    del content["network_data_format"]["outputs"]["pred"]["num_channels"]
    with pytest.raises(MedssmError, match="outputs pred: num_channels"):
        check_metadata(content)
