"""Feature files of CLAM, TRIDENT and ours: both ways, and what is wrong with bad ones."""

import numpy as np
import pytest
import torch

from medssm.core.errors import BadArgumentError, BadDataError
from medssm.data.bags import bag_header, find_bags, read_bag, write_bag

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(70, 6)).astype(np.float32)
COORDS = np.stack([np.arange(70) % 10 * 512, np.arange(70) // 10 * 512], axis=1)
FACTS = {
    "patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40, "overlap": 0,
    "target_magnification": 20, "level0_width": 9000, "level0_height": 8000,
    "encoder": "resnet50_trunc", "failed_coords": [[1, 2]], "mpp_level0": 0.25, "degraded": None,
}  # fmt: skip


@pytest.mark.parametrize("layout", ["medssm", "clam", "trident", "pt"])
def test_what_is_written_comes_back(tmp_path, layout):
    file = tmp_path / ("s.pt" if layout == "pt" else "s.h5")
    write_bag(file, FEATURES, COORDS, FACTS, layout)
    bag = read_bag(file, width=6)
    assert np.array_equal(bag.features, FEATURES)
    assert bag.features.dtype == np.float32
    assert bag.coords is None if layout == "pt" else np.array_equal(bag.coords, COORDS)
    assert (bag.name, bag.dropped) == ("s", 0)
    header = bag_header(file)
    assert (header.count, header.width) == (70, 6)


def test_files_have_what_clam_and_trident_expect(tmp_path):
    write_bag(tmp_path / "h5_files" / "a.h5", FEATURES, COORDS, FACTS, "clam")
    with h5py.File(tmp_path / "h5_files" / "a.h5") as file:
        assert set(file) == {"features", "coords"}
        assert (file["features"].dtype, file["coords"].dtype) == (np.float32, np.int32)
        assert file["features"].chunks == (32, 6)
        assert file["features"].maxshape == (None, 6)
        assert not len(file["coords"].attrs) + len(file["features"].attrs) + len(file.attrs)
    write_bag(tmp_path / "features_x" / "a.h5", FEATURES, COORDS, FACTS, "trident")
    with h5py.File(tmp_path / "features_x" / "a.h5") as file:
        assert file["coords"].dtype == np.int64
        assert file["features"].chunks[0] == 1
        assert dict(file["features"].attrs) == {
            "name": "a", "encoder": "resnet50_trunc", "savetodir": "features_x",
        }  # fmt: skip
        names = {"patch_size", "patch_size_level0", "level0_magnification", "overlap", "name",
                 "target_magnification", "savetodir", "level0_width", "level0_height"}  # fmt: skip
        assert set(file["coords"].attrs) == names
    write_bag(tmp_path / "a.pt", FEATURES, None, layout="pt")
    tensor = torch.load(tmp_path / "a.pt", weights_only=True)
    assert torch.equal(tensor, torch.from_numpy(FEATURES))


def test_our_file_is_read_by_names_of_trident_and_keeps_all_we_told(tmp_path):
    write_bag(tmp_path / "a.h5", FEATURES, COORDS, FACTS)
    facts = read_bag(tmp_path / "a.h5").facts
    assert {key: facts[key] for key in FACTS} == FACTS
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["coords"].attrs["patch_size_level0"] == 512
        assert file["coords"].attrs["degraded"] == "None"


@pytest.mark.parametrize("shape", [(0, 6), (0,)])
def test_an_empty_slide_of_trident_is_a_bag_of_nothing(tmp_path, shape):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.zeros(shape, np.float32)
        file["coords"] = np.zeros((0, 2), np.int64)
    assert len(read_bag(tmp_path / "a.h5", width=6)) == 0


def test_half_precision_becomes_single(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = FEATURES[None].astype(np.float16)
        file["coords"] = COORDS
    bag = read_bag(tmp_path / "a.h5")
    assert bag.features.dtype == np.float32
    assert np.allclose(bag.features, FEATURES, atol=2e-3)


def test_few_rows_with_nan_are_left_out_with_their_places(tmp_path):
    bad = np.repeat(FEATURES, 3, axis=0)
    bad[7, 2], bad[9, 0] = np.nan, np.inf
    write_bag(tmp_path / "a.h5", bad, np.repeat(COORDS, 3, axis=0))
    bag = read_bag(tmp_path / "a.h5")
    assert (len(bag), bag.dropped) == (208, 2)
    assert np.isfinite(bag.features).all()
    assert np.array_equal(bag.coords, np.delete(np.repeat(COORDS, 3, axis=0), [7, 9], axis=0))


def _nan(file):
    bad = FEATURES.copy()
    bad[:5] = np.nan
    write_bag(file, bad, COORDS)


def _lengths(file):
    with h5py.File(file, "w") as content:
        content["features"], content["coords"] = FEATURES, COORDS[:-1]


def _places_only(file):
    with h5py.File(file, "w") as content:
        content["coords"] = COORDS


def _cut_off(file):
    write_bag(file, FEATURES, COORDS)
    file.write_bytes(file.read_bytes()[:900])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_nan, "5 of 70 rows hold NaN or Inf.*at most 1.0%.*make the features again"),
        (_lengths, "70 features and 69 coords.*one place for each row"),
        (_places_only, "holds coords.*dataset features"),
        (_cut_off, "not readable as HDF5.*900 bytes.*make it again"),
        (lambda file: write_bag(file, FEATURES, COORDS, FACTS),
         "6 numbers a tile, expected 4 .encoder: resnet50_trunc"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_the_reason_and_the_remedy(tmp_path, make, words):
    make(tmp_path / "a.h5")
    with pytest.raises(BadDataError, match=f"a.h5.*{words}"):
        read_bag(tmp_path / "a.h5", width=4 if "expected 4" in words else 6)


def test_a_pt_file_with_objects_is_not_opened(tmp_path):
    torch.save({"features": object}, tmp_path / "a.pt")
    with pytest.raises(BadDataError, match=r"one tensor .N, D.*other objects are not opened"):
        read_bag(tmp_path / "a.pt")
    torch.save({"features": torch.zeros(2, 3)}, tmp_path / "a.pt")
    with pytest.raises(BadDataError, match="holds dict"):
        read_bag(tmp_path / "a.pt")


def test_bags_are_found_in_the_folders_of_both_tools(tmp_path):
    for name in ("a", "b"):
        write_bag(tmp_path / "clam" / "h5_files" / f"{name}.h5", FEATURES, COORDS, None, "clam")
        write_bag(tmp_path / "clam" / "pt_files" / "enc" / f"{name}.svs.pt", FEATURES, None,
                  layout="pt")  # fmt: skip
    write_bag(tmp_path / "clam" / "pt_files" / "c.pt", FEATURES, None, layout="pt")
    found = find_bags(tmp_path / "clam")
    assert {name: file.suffix for name, file in found.items()} == {
        "a": ".h5", "b": ".h5", "c": ".pt",
    }  # fmt: skip
    inner = tmp_path / "trident" / "20x_256px_0px_overlap"
    write_bag(inner / "features_uni" / "a.h5", FEATURES, COORDS, FACTS, "trident")
    assert list(find_bags(tmp_path / "trident")) == ["a"]
    write_bag(inner / "features_conch" / "a.h5", FEATURES, COORDS, FACTS, "trident")
    with pytest.raises(BadDataError, match=r"several encoders .*features_conch.*features_uni"):
        find_bags(tmp_path / "trident")


def test_two_files_for_a_slide_and_an_empty_folder_are_refused(tmp_path):
    write_bag(tmp_path / "x" / "a.h5", FEATURES, COORDS)
    write_bag(tmp_path / "x" / "a.svs.h5", FEATURES, COORDS)
    with pytest.raises(BadDataError, match="both the features of 'a'"):
        find_bags(tmp_path / "x")
    with pytest.raises(BadDataError, match="no feature files"):
        find_bags(tmp_path)


def test_a_write_that_does_not_fit_leaves_nothing(tmp_path):
    with pytest.raises(BadArgumentError, match="70 features and coords of the shape"):
        write_bag(tmp_path / "a.h5", FEATURES, COORDS[:3])
    with pytest.raises(BadArgumentError, match="did you mean 'clam'"):
        write_bag(tmp_path / "a.h5", FEATURES, COORDS, layout="clan")
    assert not list(tmp_path.iterdir())


def test_arrays_of_numpy_are_a_bag_and_objects_are_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", features=FEATURES, coords=COORDS)
    bag = read_bag(tmp_path / "a.npz", width=6)
    assert np.array_equal(bag.features, FEATURES)
    assert np.array_equal(bag.coords, COORDS)
    assert bag_header(tmp_path / "a.npz").count == 70
    assert list(find_bags(tmp_path)) == ["a"]
    np.savez(tmp_path / "b.npz", features=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "c.npz", coords=COORDS)
    (tmp_path / "d.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    for name, told in (("b", "objects are not opened"), ("c", "no array features"), ("d", "npz")):
        with pytest.raises(BadDataError, match=told):
            read_bag(tmp_path / f"{name}.npz")
