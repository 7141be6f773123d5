"""The store's files are packed as stock nnU-Net packs them, and by its public names alone."""

import re
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

from medssm.fields.segmentation.nnunet import preprocessing

RNG = np.random.default_rng(0)
ARRAYS = {
    "noise": RNG.normal(size=(1, 40, 50, 60)).astype(np.float32),
    "smooth": np.linspace(-1, 1, 2 * 30 * 40 * 50, dtype=np.float32).reshape(2, 30, 40, 50),
    "whole numbers": RNG.integers(0, 9, (1, 40, 50, 60)).astype(np.float32),
    "labels": (RNG.random((1, 40, 50, 60)) > 0.9).astype(np.int16),
    "constant": np.zeros((1, 9, 10, 11), np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("patch", [(16, 32, 32), (8, 8, 8), (128, 128, 128)])
def test_the_filter_is_the_one_that_stock_chooses(name, patch, tmp_path):
    array = ARRAYS[name]
    blocks, chunks = comp_blosc2_params(array.shape, patch, array.itemsize)
    expected = nnUNetDatasetBlosc2._select_filter(
        array, blocks, chunks, preprocessing._SETTINGS["codec"], preprocessing._SETTINGS["clevel"]
    )
    assert preprocessing.smaller_filter(array, blocks, chunks) == expected


def test_the_adapter_uses_no_private_name_of_nnunet():
    folder = Path(preprocessing.__file__).parent
    private = re.compile(r"\b(nnUNet\w+|DefaultPreprocessor|PlansManager|ExperimentPlanner)\._\w+")
    assert [file.name for file in folder.glob("*.py") if private.search(file.read_text())] == []
