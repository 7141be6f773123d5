"""What bundles of whole cases share: names, written answers, and the area under the curve."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from sklearn.metrics import roc_auc_score

from medssm.bundle.travel.answers import MeanArea, SaveAnswerd, case_names
from medssm.core.errors import BadDataError
from medssm.networks import ECG_NETWORKS


def test_names_tell_files_apart():
    root = Path("/records")
    files = [root / "a.hea", root / "b" / "a.hea", root / "c.npy", root / "c.csv"]
    assert case_names(files, root) == ["a", "b__a", "c.npy", "c.csv"]
    volumes = [root / "v.nii.gz", root / "w.nii.gz", root / "w.mha"]
    assert case_names(volumes, root) == ["v", "w.nii.gz", "w.mha"]


def test_answers_are_written_one_a_case_and_in_a_table(tmp_path):
    save = SaveAnswerd("answer", str(tmp_path / "out"))
    save({"answer": {"case": "bad", "problem": "cut off", "rows": []}})
    for name in ("x", "y"):
        save({"answer": {"case": name, "problem": "", "rows": [{"p": 0.5, "yes": 1}]}})
    rows = list(csv.DictReader((tmp_path / "out" / "answers.csv").open()))
    assert rows == [{"case": name, "p": "0.5", "yes": "1"} for name in ("x", "y")]
    assert json.loads((tmp_path / "out" / "bad.json").read_text())["problem"] == "cut off"
    # another run begins the table anew
    SaveAnswerd("answer", str(tmp_path / "out"))(
        {"answer": {"case": "z", "problem": "", "rows": [{"p": 0.1, "yes": 0}]}}
    )
    assert len((tmp_path / "out" / "answers.csv").read_text().splitlines()) == 2
    assert not list((tmp_path / "out").glob(".*"))


def test_a_table_of_an_earlier_run_does_not_outlive_one_without_answers(tmp_path):
    (tmp_path / "answers.csv").write_text("case,p\nold,1\n")
    SaveAnswerd("answer", str(tmp_path))({"answer": {"case": "bad", "problem": "x", "rows": []}})
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


@pytest.mark.parametrize("name", ["../out", "/out", "a/b", ".."])
def test_no_name_of_a_case_leads_out_of_the_folder(name, tmp_path):
    save = SaveAnswerd("answer", str(tmp_path / "in"))
    with pytest.raises(BadDataError, match="one name"):
        save({"answer": {"case": name, "problem": "", "rows": []}})
    assert list(tmp_path.rglob("*")) == []


def test_the_mean_area_passes_over_classes_and_cases_that_tell_nothing():
    rng = np.random.default_rng(0)
    said, true = rng.random((30, 3)), (rng.random((30, 3)) < 0.4).astype(float)
    true[:, 2] = 0
    metric = MeanArea()
    for index in range(30):
        metric([torch.tensor(said[index])], [torch.tensor(true[index])])
    metric([torch.full((3,), float("nan"))], [torch.ones(3)])
    wanted = np.mean([roc_auc_score(true[:, k], said[:, k]) for k in range(2)])
    assert metric.aggregate() == pytest.approx(wanted)
    # of one class nothing is known here
    metric([torch.tensor([0.9, 0.1, 0.5])], [torch.tensor([0.0, float("nan"), 0.0])])
    first = roc_auc_score([*true[:, 0], 0], [*said[:, 0], 0.9])
    second = roc_auc_score(true[:, 1], said[:, 1])
    assert metric.aggregate() == pytest.approx((first + second) / 2)


def test_a_network_learns_from_the_tensors_that_monai_hands_over():
    torch.manual_seed(0)
    network = ECG_NETWORKS.build(
        "ecg_mamba", out_channels=3, length=64, width=16, depth=1, stem_widths=[8, 8, 16]
    ).eval()
    x = torch.randn(2, 12, 64)
    found = []
    for given in (MetaTensor(x), x):
        network.zero_grad()
        network(given).sum().backward()
        found.append([each.grad.clone() for each in network.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(torch.Tensor(one), two)
