"""The crops that are counted are crops of the volumes, and the committed figures hold the bar."""

import json

import numpy as np

from benchmarks.crops import fill, volume
from benchmarks.timing import ROOT


def test_the_store_that_is_measured_gives_back_its_volumes(tmp_path):
    made = {f"{seed:024x}": volume(seed, 40) for seed in range(2)}
    assert not np.array_equal(*made.values())
    store = fill(tmp_path, "lz4", made)
    for name, voxels in made.items():
        np.testing.assert_array_equal(
            store.read(name, (3, 4, 5), (20, 20, 20)), voxels[3:23, 4:24, 5:25]
        )


def test_the_committed_figures_are_a_hundred_crops_a_second_on_two_threads():
    result = json.loads((ROOT / "benchmarks/results/crops.json").read_text(encoding="utf-8"))
    assert result["machine"]["threads"] == 2
    rows = {(row["store"], row["crop"]): row for row in result["rows"]}
    for codec in ("lz4", "zstd"):
        for crop in ("int16", "windowed float32"):
            assert rows[f"blosc2 {codec}", crop]["crops_per_second"] >= 100
            assert rows[f"blosc2 {codec}", crop]["times_nii_gz"] >= 12
