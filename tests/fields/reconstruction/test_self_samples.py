import numpy as np
import pytest
import torch

from medssm.core.errors import BadDataError
from medssm.data.readers.kspace import open_kspace
from medssm.fields.reconstruction.masks_of_cases import own
from medssm.fields.reconstruction.preparation import Preparation
from medssm.fields.reconstruction.samples import SlicePlace, Stream
from medssm.fields.reconstruction.self_samples import SelfSupervisedSamples, hide, kept_back
from medssm.fields.reconstruction.train_config import SamplingConfig, SplitConfig
from medssm.mri.undersampling import Mask, draw_mask
from medssm.training.order import SampleKey

KINDS = ["uniform", "gaussian", "half"]
MASKS = {"random": 0.1, "poisson": 0.03}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_hidden_was_acquired_and_the_centre_stays(name, kind):
    mask = draw_mask(name, (96, 100), 4, MASKS[name], 0)
    hidden = hide(mask, SplitConfig(kind=kind), np.random.default_rng(0))
    assert bool(hidden.any())
    assert not bool((hidden & ~mask.sampled).any())
    assert not bool((hidden & mask.acs).any())


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_about_the_share_that_was_asked_for_is_hidden(kind):
    mask = draw_mask("poisson", (128, 128), 4, 0.02, 0)
    outside = int((mask.sampled & ~mask.acs).sum())
    hidden = hide(mask, SplitConfig(kind=kind, hidden=0.3), np.random.default_rng(1))
    assert int(hidden.sum()) / outside == pytest.approx(0.3, abs=0.06)


def test_gaussian_hides_rather_near_the_middle():
    mask = draw_mask("gaussian2d", (128, 128), 3, 0.02, 0)
    rows = (torch.arange(128) - 64).abs()[:, None].float()

    def mean(kind):
        hidden = hide(mask, SplitConfig(kind=kind), np.random.default_rng(2))
        return float((hidden * rows).sum() / hidden.sum())

    assert mean("gaussian") < mean("uniform") - 1


def test_columns_are_hidden_whole():
    mask = draw_mask("random", (32, 100), 4, 0.1, 0)
    hidden = hide(mask, SplitConfig(), np.random.default_rng(0))
    assert bool((hidden == hidden[:1]).all())


def test_the_kept_back_part_is_always_the_same():
    mask = draw_mask("poisson", (96, 100), 6, 0.03, 0)
    assert torch.equal(kept_back(mask, 0.1, 0), kept_back(mask, 0.1, 0))
    assert not torch.equal(kept_back(mask, 0.1, 0), kept_back(mask, 0.1, 1))


def test_a_mask_of_nothing_but_its_centre_is_refused():
    acs = torch.zeros(8, 20, dtype=torch.bool)
    acs[:, 7:13] = True
    with pytest.raises(BadDataError, match="every acquired sample lies in the fully sampled"):
        kept_back(Mask(acs, acs), 0.1, 0)


@pytest.mark.parametrize("name", MASKS)
def test_what_stops_the_run_and_what_judges_it_are_never_learned_from(tmp_path, name):
    mask = draw_mask(name, (64, 60), 3, MASKS[name], 0)
    kspace = np.random.default_rng(0).standard_normal((2, 64, 60)) * mask.sampled.numpy()
    np.save(tmp_path / "scan.npy", kspace.astype(np.complex64))
    stream = Stream(SamplingConfig(), Preparation(), seed=0)
    place = SlicePlace(tmp_path / "scan.npy", "scan", 0, (2, 64, 60))
    samples = SelfSupervisedSamples([place], SplitConfig(), stream)
    volume = open_kspace(tmp_path / "scan.npy")
    figure = kept_back(own(volume.mask, volume.acs), 0.1, 0)
    (validation,) = samples.held_back(1)
    stopping = validation["hidden"][0, :, :, 0]
    assert not bool((stopping & figure).any())
    for number in range(5):
        made = samples[SampleKey(0, number)]
        seen = made["mask"][0, :, :, 0] | made["hidden"][0, :, :, 0]
        assert not bool((seen & (figure | stopping)).any())
        assert bool((made["mask"][0, :, :, 0] & made["hidden"][0, :, :, 0]).sum() == 0)
