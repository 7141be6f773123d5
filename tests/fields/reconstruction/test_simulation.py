import numpy as np
import pytest

from medssm.core.errors import UsageError
from medssm.fields.reconstruction.phantoms import head_phantom
from medssm.fields.reconstruction.preparation import Preparation
from medssm.fields.reconstruction.samples import SimulatedSamples, Stream
from medssm.fields.reconstruction.simulation import (
    ImageSource,
    SimulationConfig,
    simulate,
    sources_of,
    to_kspace,
)
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.training.order import SampleKey

SIZE = (48, 40)
CONFIG = SimulationConfig(size=SIZE, rows=0, noise=(0.0, 0.0), coils=(4, 4))


def _source(seed=0):
    return ImageSource(head_phantom(SIZE, np.random.default_rng(seed)))


def _samples(sampling=None, sources=(), **changes):
    config = SimulationConfig(**{"size": SIZE, **changes})
    return SimulatedSamples(
        list(sources), config, Stream(sampling or SamplingConfig(), Preparation(), seed=3)
    )


def test_a_phantom_is_a_bright_head_on_nothing():
    image = head_phantom((96, 80), np.random.default_rng(0))
    assert image.dtype == np.float32
    assert image[:4].max() == 0
    assert 0.3 < image[30:60, 30:50].mean() < 1.2


def test_maps_have_unit_length_and_kspace_is_that_of_what_the_coils_see():
    made = simulate(_source(), CONFIG, np.random.default_rng(1))
    assert made.maps.shape == (4, *SIZE)
    assert np.allclose((np.abs(made.maps) ** 2).sum(0), 1, atol=1e-5)
    assert np.abs(made.kspace - to_kspace(made.maps * made.image)).max() < 1e-5


def test_noise_has_the_spread_that_was_asked_for():
    quiet, loud = (
        simulate(_source(), SimulationConfig(size=SIZE, rows=0, coils=(4, 4), noise=(s, s)),
                 np.random.default_rng(1)).kspace
        for s in (1e-9, 0.05)
    )  # fmt: skip
    assert (loud - quiet).real.std() == pytest.approx(0.05, rel=0.05)
    assert (loud - quiet).imag.std() == pytest.approx(0.05, rel=0.05)


def test_a_strip_shows_all_columns_of_some_rows():
    made = simulate(_source(), SimulationConfig(size=SIZE, rows=20), np.random.default_rng(0))
    assert made.kspace.shape[1:] == (20, SIZE[1])


def test_a_sample_is_a_function_of_its_key_alone():
    first, second = _samples(), _samples()
    second[SampleKey(5, 1)]
    for name, each in first[SampleKey(0, 2)].items():
        assert each.equal(second[SampleKey(0, 2)][name])
    assert not first[SampleKey(0, 2)]["masked"].equal(first[SampleKey(0, 3)]["masked"])


def test_masks_of_columns_show_strips_and_masks_of_samples_show_all_rows():
    assert _samples(size=(64, 40))[SampleKey(0, 0)]["masked"].shape[1] == 48
    poisson = SamplingConfig(masks=("poisson",), center_fractions=(0.03,))
    assert _samples(poisson, size=(64, 40))[SampleKey(0, 0)]["masked"].shape[1] == 64


def test_the_validation_shows_other_slices_than_the_training():
    samples = _samples()
    held_back = samples.held_back(2)
    assert not held_back[0]["target"].equal(held_back[1]["target"])
    assert all(not held_back[0]["target"].equal(samples[SampleKey(0, n)]["target"])
               for n in range(3))  # fmt: skip


def test_images_of_the_data_are_shown_beside_phantoms():
    bright = np.zeros((2, 30, 30), dtype=np.complex64)
    bright[0, 8:22, 8:22] = 5j
    sources = sources_of([bright])
    assert len(sources) == 1, "an empty slice shows nothing"
    assert sources[0].at(np.zeros((1, 1)), np.zeros((1, 1))) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"coils": (5, 2)}, "coils"), ({"phantoms": 1.5}, "phantoms"), ({"size": (8, 8)}, "size"),
     ({"rows": 400}, "rows"), ({"noise": (-1.0, 1.0)}, "noise")],
)  # fmt: skip
def test_values_out_of_range_are_named(changes, words):
    with pytest.raises(UsageError, match=words):
        SimulationConfig(**changes)
