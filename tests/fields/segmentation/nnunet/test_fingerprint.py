"""The fingerprint against stock nnU-Net."""

from pathlib import Path

import pytest
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
    DatasetFingerprintExtractor,
)

from medssm.core.files import read_json


# stock nnU-Net starts a process for it
@pytest.mark.slow
def test_fingerprint_is_stock_nnunets_to_the_digit(planned, stock_roots: Path) -> None:
    DatasetFingerprintExtractor(planned.manifest.name, num_processes=1).run()
    stock = read_json(stock_roots / "dataset_fingerprint.json")
    ours = read_json(planned.workspace.preprocessed / "dataset_fingerprint.json")
    assert ours == stock
