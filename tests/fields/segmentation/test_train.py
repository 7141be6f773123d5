"""Training: patches are a function of their place, and a fold becomes a model folder."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.core.signature import make
from medssm.data.manifest import read_manifest
from medssm.data.phantom import PhantomShape, make_phantom_dataset
from medssm.fields.segmentation.nnunet.augmentation import augmentation_rules, training_transforms
from medssm.fields.segmentation.patches import Cut, PatchSamples, Store, read_properties
from medssm.fields.segmentation.plan import PlanConfig, plan
from medssm.fields.segmentation.plan_file import read_plan
from medssm.fields.segmentation.predict import PredictConfig, predict
from medssm.fields.segmentation.preprocess import PreprocessConfig, preprocess
from medssm.fields.segmentation.train import TrainConfig, train
from medssm.runs.workspace import Workspace
from medssm.training.order import BatchOrder, SampleKey, quiet_worker

NETWORK = {
    "name": "lightm_unet", "spatial_dims": 3, "in_channels": 1, "out_channels": 4,
    "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1],
}  # fmt: skip
TINY = {
    "max_epochs": 1, "steps_per_epoch": 2, "workers": 0, "ema_decay": 0.9,
    "accelerator": "cpu", "precision": "32-true",
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    raw = home / "raw" / "Dataset001_Phantom"
    make_phantom_dataset(raw, cases=5, held_back=1, shape=PhantomShape(size=(12, 20, 20)))
    workspace = Workspace(home, raw.name, raw)
    manifest = read_manifest(raw)
    made = plan(PlanConfig(max_voxels_3d=16 * 24 * 24), NETWORK, manifest, workspace)
    preprocess(PreprocessConfig(workers=1), made, manifest, workspace)
    return workspace, made


def _samples(study, augment=True):
    workspace, made = study
    names = [f"phantom_{i:03d}" for i in range(5)]
    store = Store(workspace.store(made.data_identifier), names)
    size = augmentation_rules(made).initial_patch_size if augment else made.patch_size
    cut = Cut(size, made.patch_size, batch_size=2)
    return PatchSamples(store, names, cut, training_transforms(made) if augment else None, seed=3)


def _digest(samples, workers, start=0):
    loader = DataLoader(
        samples, batch_sampler=BatchOrder(2, 3, 2, start=start), num_workers=workers,
        worker_init_fn=quiet_worker,
    )  # fmt: skip
    return [
        hashlib.sha256(b["image"].numpy().tobytes() + b["target"].numpy().tobytes()).hexdigest()
        for b in loader
    ]


def test_batches_do_not_depend_on_workers_or_restarts(study):
    samples = _samples(study)
    alone = _digest(samples, 0)
    assert _digest(samples, 2) == alone
    assert _digest(samples, 1, start=2) == alone[2:]
    assert len(set(alone)) == len(alone)


def test_patches_have_the_size_of_the_plan_and_hold_foreground_where_wished(study):
    _, made = study
    samples = _samples(study, augment=False)
    for epoch in range(4):
        patch = samples[SampleKey(epoch, 1)]
        assert patch["image"].shape == (1, *made.patch_size)
        assert patch["target"].min() >= 0
        assert (patch["target"] > 0).any()


def test_a_fold_becomes_a_model_folder_that_predicts(study, tmp_path):
    workspace, made = study
    config = make(TrainConfig, {"network": NETWORK, "trainer": TINY, "run": "whole"}, "train")
    model = train(config, made, workspace)
    fold = model / "fold_0"
    expected = {
        "checkpoint_latest.pt", "checkpoint_final.pt", "weights.safetensors", "metrics.csv",
        "curves.png", "environment.json", "config.yaml", "status.json", "validation",
    }  # fmt: skip
    assert expected <= {path.name for path in fold.iterdir()}
    assert read_json(fold / "status.json")["state"] == "complete"
    summary = read_json(fold / "validation" / "summary.json")
    assert 0 <= summary["foreground_mean"]["Dice"] <= 1
    raw = workspace.raw_folder
    report = predict(PredictConfig(model=model, input=raw / "imagesTs", output=tmp_path / "out"))
    assert report.done == ("phantom_005",)
    assert not report.failed


def test_a_network_starts_from_the_weights_of_another_run(study, capsys):
    workspace, made = study
    first = make(TrainConfig, {"network": NETWORK, "trainer": TINY, "run": "whole"}, "train")
    model = train(first, made, workspace)
    again = {"network": NETWORK, "trainer": TINY, "run": "warm", "init": str(model),
             "validate": False}  # fmt: skip
    warm = train(make(TrainConfig, again, "train"), made, workspace)
    a, b = (f / "fold_0" / "weights.safetensors" for f in (model, warm))
    assert a.read_bytes() != b.read_bytes()
    wrong = make(TrainConfig, again | {"init": str(model / "model.json"), "run": "x"}, "train")
    with pytest.raises(BadDataError, match="could not be read as a checkpoint"):
        train(wrong, made, workspace)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 5}, "other settings"), ({"fold": 1, "network": NETWORK | {"norm": "instance"}},
     "folds of a model folder must agree")],
)  # fmt: skip
def test_a_run_of_other_settings_is_refused_and_leaves_the_model_as_it_was(study, change, message):
    workspace, made = study
    wishes = {"network": NETWORK, "trainer": TINY, "run": "kept", "validate": False}
    model = train(make(TrainConfig, wishes, "train"), made, workspace, ["seed=0"])
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=message):
        train(make(TrainConfig, wishes | change, "train"), made, workspace, ["seed=5"])
    assert {path: path.read_bytes() for path in before} == before
    assert read_json(model / "fold_0" / "run.json")["overrides"] == ["seed=0"]


def test_a_twin_with_another_mixer_has_its_own_model_folder(study):
    names = [
        TrainConfig(network=network).run_name(study[1])
        for network in (NETWORK, NETWORK | {"mixer": {"name": "none"}})
    ]
    assert names[0] != names[1]


def test_a_patch_that_does_not_fit_the_network_is_answered_with_sizes_that_do(study):
    workspace, made = study
    wrong = {"network": NETWORK, "trainer": TINY, "patch_size": [13, 24, 24]}
    with pytest.raises(UsageError, match=r"patch_size=\[14, 24, 24\]"):
        train(make(TrainConfig, wrong, "train"), made, workspace)


def test_a_fold_that_does_not_exist_is_answered_with_those_that_do(study):
    workspace, made = study
    wrong = {"network": NETWORK, "trainer": TINY, "fold": 9}
    with pytest.raises(UsageError, match="folds 0 to 4"):
        train(make(TrainConfig, wrong, "train"), made, workspace)


def test_a_store_that_lacks_cases_is_refused(study, tmp_path):
    workspace, made = study
    with pytest.raises(BadDataError, match="1 of 2 cases are missing"):
        Store(workspace.store(made.data_identifier), ["phantom_000", "phantom_999"])


def test_properties_that_would_run_code_are_refused(tmp_path):
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return (canary.touch, ())

    file = tmp_path / "case.pkl"
    file.write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(BadDataError, match="not readable as plain data"):
        read_properties(file)
    assert not canary.exists()
    file.write_bytes(pickle.dumps({"spacing": [1.0], "where": np.zeros((2, 4), np.int64)}))
    assert read_properties(file)["where"].shape == (2, 4)


@pytest.mark.slow
def test_four_samples_are_learned_by_heart(study):
    from medssm.fields.segmentation.task import SegmentationTask
    from medssm.losses import LOSSES
    from medssm.networks import NETWORKS
    from medssm.training.optimizers import OptimizerConfig, build_optimizer
    from medssm.training.task import Learning

    _, made = study
    samples = _samples(study, augment=False)
    batch = [samples[SampleKey(0, i)] for i in range(4)]
    batch = {key: torch.stack([each[key] for each in batch]) for key in batch[0]}
    torch.manual_seed(0)
    network = NETWORKS.build(**NETWORK)
    task = SegmentationTask(network, Learning(), LOSSES.build("dice_ce"), made.labels)
    optimizer = build_optimizer(OptimizerConfig(lr=1e-2), network)
    losses = []
    for _ in range(60):
        loss = task.losses(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_the_plan_of_a_model_folder_reads_back(study):
    workspace, made = study
    file = workspace.plans_file(made.plans_name)
    assert read_plan(file).patch_size == made.patch_size
    assert json.loads(file.read_text())["medssm"]["network"]["name"] == "lightm_unet"
