"""One case on a machine that is too small, or with a network that fails: told, and contained."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import TEMPORARY_MARK
from medssm.fields.segmentation import case_prediction
from medssm.fields.segmentation.case_prediction import keep_largest_components
from medssm.fields.segmentation.folder_prediction import PredictSettings, predict_to_folder
from medssm.fields.segmentation.inputs import InputCase, find_inputs

CPU = PredictSettings(device="cpu", mirroring=False)


class Net(nn.Module):
    """Answers by the intensities alone; may refuse some windows."""

    def __init__(self, classes: int, most_windows: int = 99, fault: Exception | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, classes))
        self.most_windows, self.fault, self.batches = most_windows, fault, []

    def forward(self, patches):
        self.batches.append(len(patches))
        if len(patches) > self.most_windows:
            raise torch.OutOfMemoryError("tried to allocate too much")
        if self.fault is not None:
            raise self.fault
        return patches[:, :1] * self.weight.view(1, -1, *[1] * (patches.ndim - 2))


def run(planned, folder, network, settings=CPU, cases=None):
    cases = cases or [InputCase(name, c.images) for name, c in planned.manifest.cases.items()]
    return predict_to_folder(
        network, planned.plan, cases, folder, file_ending=".nii.gz", settings=settings
    )


def written(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.nii.gz"))}


def test_a_device_that_is_full_gets_fewer_windows_at_a_time(planned, tmp_path):
    run(planned, tmp_path / "small", Net(3))
    network = Net(3, most_windows=1)
    settings = PredictSettings(device="cpu", mirroring=False, window_batch=2)
    report = run(planned, tmp_path / "large", network, settings)
    assert len(report.done) == 4
    assert set(network.batches) == {1, 2}
    assert written(tmp_path / "large") == written(tmp_path / "small")


def test_a_device_without_room_for_one_window_is_a_failure_of_the_machine(planned, tmp_path):
    report = run(planned, tmp_path, Net(3, most_windows=0))
    assert report.exit_code == MachineError.exit_code
    assert "device=cpu" in report.failed["c0"]


def test_an_image_that_does_not_fit_into_memory_fails_alone_with_both_numbers(
    planned, tmp_path, monkeypatch
):
    sizes = {
        name: np.prod(properties["shape_before_cropping"])
        for name, case in planned.manifest.cases.items()
        for properties in [case_prediction.preprocess_image(case.images, planned.plan)[1]]
    }
    largest = max(sizes, key=sizes.get)
    free = 32 * (int(sizes[largest]) - 1)
    monkeypatch.setattr(case_prediction, "free_bytes", lambda: free)
    report = run(planned, tmp_path, Net(3))
    assert set(report.failed) == {largest}
    assert report.exit_code == MachineError.exit_code
    assert f"{sizes[largest]:,} voxels" in report.failed[largest]


def test_what_nobody_foresaw_costs_one_case_and_is_told_as_our_fault(planned, tmp_path):
    def surprising():
        raise KeyError("what nobody thought of")

    cases = [InputCase(name, c.images) for name, c in planned.manifest.cases.items()]
    cases[1] = InputCase("c1", cases[1].files, prepare=surprising)
    report = run(planned, tmp_path, Net(3), cases=cases)
    assert list(report.failed) == ["c1"]
    assert "unexpected KeyError" in report.failed["c1"]
    assert report.exit_code == 70
    assert report.done == ("c0", "c2", "c3")


def test_a_network_that_answers_nonsense_is_bad_data_and_writes_nothing(planned, tmp_path):
    network = Net(3)
    with torch.no_grad():
        network.weight.fill_(torch.nan)
    report = run(planned, tmp_path, network)
    assert report.exit_code == BadDataError.exit_code
    assert "not finite" in report.failed["c0"]
    assert written(tmp_path) == {}
    assert list(tmp_path.rglob(f"{TEMPORARY_MARK}*")) == []


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_preparing_ahead_changes_nothing(planned, tmp_path, workers):
    run(planned, tmp_path / "one", Net(3))
    settings = PredictSettings(device="cpu", mirroring=False, workers=workers)
    run(planned, tmp_path / "many", Net(3), settings)
    assert written(tmp_path / "many") == written(tmp_path / "one")


def test_pieces_touch_by_faces_and_every_label_keeps_its_own_largest():
    label = np.zeros((4, 8), dtype=np.uint8)
    label[0, 0] = label[1, 1] = label[1, 2] = 1  # the first touches by a corner only
    label[3, 0:3] = label[3, 5] = 2
    kept = keep_largest_components(label)
    assert kept.dtype == label.dtype
    assert [tuple(each) for each in np.argwhere(kept == 1)] == [(1, 1), (1, 2)]
    assert [tuple(each) for each in np.argwhere(kept == 2)] == [(3, 0), (3, 1), (3, 2)]


def test_a_picture_of_three_colours_is_three_channels(tmp_path):
    import imageio.v3 as imageio

    rng = np.random.default_rng(0)
    find = partial(find_inputs, tmp_path, file_ending=".png")
    imageio.imwrite(tmp_path / "a.png", rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
    (case,) = find(3)
    assert (case.name, case.problem) == ("a", "")
    imageio.imwrite(tmp_path / "a.png", rng.integers(0, 255, (9, 9), dtype=np.uint8))
    (case,) = find(3)
    assert "3 channel(s), one file each" in case.problem
