"""Training bags are a function of seed, epoch and number; the order of tiles is an option."""

import numpy as np
import pytest
import torch

from medssm.core.errors import BadDataError
from medssm.data.bags import find_bags, write_bag
from medssm.fields.pathology.plan_file import BagEntry
from medssm.fields.pathology.samples import BagSamples, Showing, answers_of, padded
from medssm.fields.pathology.store import BagStore, read_tiles, standard_of, take_inventory
from medssm.training.order import SampleKey
from tests.support.bags import WIDTH, grid, make_study


@pytest.fixture
def store(tmp_path):
    make_study(tmp_path, 10)
    files = find_bags(tmp_path)
    bags = {name: BagEntry(name, name, (name,), int(i % 2)) for i, name in enumerate(files)}
    return BagStore(bags, take_inventory(files, {}), "file")


def _samples(store, **options):
    names = list(store.bags)
    bags = list(store.bags.values())
    showing = Showing(per_epoch=12, **options)
    return BagSamples(store, names, answers_of(bags, None), [b.label for b in bags], showing)


def test_each_bag_is_shown_once_before_any_is_shown_twice(store):
    samples = _samples(store)
    keys = [SampleKey(place // 12, place % 12) for place in range(20)]
    shown = [samples[key]["bag"].sum().item() for key in keys]
    assert len(set(shown[:10])) == 10
    assert sorted(shown[:10]) == sorted(shown[10:])
    assert shown[:10] != shown[10:]


@pytest.mark.parametrize("options", [{}, {"balanced": True}, {"shuffle_tiles": True},
                                     {"instances": 4}])  # fmt: skip
def test_a_sample_depends_on_its_place_alone(store, options):
    first, second = _samples(store, **options), _samples(store, **options)
    second[SampleKey(0, 3)]
    for key in (SampleKey(2, 5), SampleKey(0, 1)):
        assert torch.equal(first[key]["bag"], second[key]["bag"])
    other = _samples(store, seed=1, **options)
    pairs = [(first[SampleKey(0, i)]["bag"], other[SampleKey(0, i)]["bag"]) for i in range(8)]
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def test_fewer_tiles_keep_their_order(store):
    bag = _samples(store, instances=4)[SampleKey(0, 0)]["bag"]
    whole = next(store.features(name) for name in store.bags
                 if (store.features(name)[:, None] == bag).all(-1).any(0).all())  # fmt: skip
    places = (whole[:, None] == bag).all(-1).float().argmax(0)
    assert len(bag) == 4
    assert places.tolist() == sorted(places.tolist())


def test_shuffled_labels_are_the_same_labels_on_other_bags(store):
    plain, mixed = _samples(store), _samples(store, shuffle_labels=True)
    assert sorted(mixed.answers.labels.tolist()) == sorted(plain.answers.labels.tolist())
    assert mixed.answers.labels.tolist() != plain.answers.labels.tolist()


def test_a_batch_is_padded_at_the_ends(store):
    samples = [_samples(store)[SampleKey(0, i)] for i in range(3)]
    batch = padded(samples)
    assert batch["lengths"].tolist() == [len(each["bag"]) for each in samples]
    for row, each in zip(batch["bags"], samples, strict=True):
        assert torch.equal(row[: len(each["bag"])], each["bag"])
        assert not row[len(each["bag"]) :].any()


def test_standardised_training_tiles_have_mean_zero_and_deviation_one(store):
    names = list(store.bags)[:6]
    standard = standard_of(store, names)
    rows = torch.cat([standard(store.features(name)) for name in names])
    torch.testing.assert_close(rows.mean(0), torch.zeros(WIDTH), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(0, correction=0), torch.ones(WIDTH), atol=1e-5, rtol=0)


def test_tiles_come_in_the_wished_order_and_attention_goes_back(tmp_path):
    features = np.arange(40, dtype=np.float32)[:, None].repeat(WIDTH, 1)
    file = write_bag(tmp_path / "a.h5", features, grid(40))
    second = write_bag(tmp_path / "b.h5", features + 100, grid(40))
    tiles = read_tiles([file, second], WIDTH, "column")
    assert tiles.features[:5, 0].tolist() == [0, 10, 20, 30, 1]
    assert tiles.features[40:43, 0].tolist() == [100, 110, 120]
    back = tiles.in_file_order(tiles.features[:, 0].numpy()[None])
    assert back[0].tolist() == [*range(40), *range(100, 140)]


def test_an_order_by_places_needs_places(tmp_path):
    file = write_bag(tmp_path / "a.pt", np.ones((3, WIDTH), np.float32), None, layout="pt")
    with pytest.raises(BadDataError, match="no coords"):
        read_tiles([file], WIDTH, "row")
    assert len(read_tiles([file], WIDTH, "file").features) == 3


def test_features_of_two_encoders_are_refused(tmp_path):
    files = {
        "a": write_bag(tmp_path / "a.h5", np.ones((3, 6)), None, {"encoder": "one"}),
        "b": write_bag(tmp_path / "b.h5", np.ones((3, 6)), None, {"encoder": "two"}),
    }
    with pytest.raises(BadDataError, match="one encoder"):
        take_inventory(files, {})
