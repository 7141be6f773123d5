"""Stock nnU-Net's own trainer and predictor with our networks, in this process."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from medssm.core.errors import MedssmError
from medssm.core.files import read_json
from medssm.fields.segmentation.export_plans import export_plans
from medssm.fields.segmentation.nnunet.preprocessing import run_case
from medssm.fields.segmentation.nnunet.trainers import FOLDER, TRAINER
from medssm.runs.field import ExportRequest

CPU = torch.device("cpu")
NETWORK = (
    "network=lightm_unet", "network.init_filters=8", "network.blocks_down=[1,1,1]",
    "network.blocks_up=[1,1]", "planner.max_voxels_3d=3000", "batch_size=2",
    "trainer.max_epochs=2", "trainer.steps_per_epoch=10", "trainer.threads=1",
)  # fmt: skip
DEEP = (*NETWORK, "network.deep_supervision=true")


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """nnU-Net's variables; nothing in the background."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_extTrainer", str(FOLDER))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def started(planned, root, words, configuration, *, kind=nnUNetTrainer, fold=0, labels=None):
    """A trainer of nnU-Net at the beginning of its run, on a store that we preprocessed."""
    folder = root / "nnUNet_preprocessed" / planned.workspace.dataset
    if not folder.exists():
        shutil.copytree(planned.workspace.preprocessed, folder)
        for name in ("2d", "3d_fullres"):
            # one store serves both here; the planes of the volumes are as good as any
            store = folder / f"medssmPlans_{name}"
            if not store.exists():
                shutil.copytree(planned.store, store)
        export_plans(ExportRequest(folder, folder, "nnunet", root, False, words))
    plans = read_json(folder / "lightm_unetPlans.json")
    dataset = read_json(folder / "dataset.json")
    if labels:
        dataset["labels"] = labels
    trainer = kind({**plans, "continue_training": False}, configuration, fold, dataset, CPU)
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    return trainer


def weights_of(trainer):
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def step_and_validate(trainer):
    """Losses of a training and a validation step."""
    before = weights_of(trainer)
    trained = trainer.train_step(next(trainer.dataloader_train))
    assert any(not torch.equal(before[k], v) for k, v in trainer.network.state_dict().items())
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        held = trainer.validation_step(next(trainer.dataloader_val))
    assert np.isfinite(trained["loss"])
    assert np.isfinite(held["loss"])
    return held


@pytest.mark.parametrize(
    ("configuration", "words", "fold"),
    [("3d_fullres", NETWORK, 0), ("3d_fullres", DEEP, "all"), ("2d", DEEP, 1)],
)
def test_the_stock_trainer_trains_and_the_stock_predictor_predicts(
    planned, roots, configuration, words, fold
) -> None:
    trainer = started(planned, roots, words, configuration, fold=fold)
    held = step_and_validate(trainer)
    assert len(held["tp_hard"]) == 2
    file = Path(trainer.output_folder) / "checkpoint_final.pth"
    trainer.save_checkpoint(str(file))
    predictor = nnUNetPredictor(use_mirroring=False, device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (fold,))
    case = planned.manifest.cases["c0"]
    image, _, _ = run_case(case.images, None, planned.plan)
    trainer.set_deep_supervision_enabled(False)
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image))
    assert logits.shape == (3, *image.shape[1:])
    network = predictor.network
    assert not network.decoder.deep_supervision
    assert weights_of(trainer).keys() == network.state_dict().keys()


def note_annotated(folder):
    """Add what nnU-Net's preprocessing notes where a label is ignored: all places but those."""
    for file in folder.glob("*.pkl"):
        facts = pickle.loads(file.read_bytes())
        places = np.concatenate(list(facts["class_locations"].values()))
        facts["class_locations"][-1, 0, 1, 2] = places
        file.write_bytes(pickle.dumps(facts))


def test_regions_and_an_ignored_label_train(planned_regions, roots) -> None:
    folder = roots / "nnUNet_preprocessed" / planned_regions.workspace.dataset
    shutil.copytree(planned_regions.workspace.preprocessed, folder)
    note_annotated(folder / "medssmPlans_3d_fullres")
    export_plans(ExportRequest(folder, folder, "nnunet", roots, False, DEEP))
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    held = step_and_validate(started(planned_regions, roots, DEEP, "3d_fullres", labels=labels))
    assert len(held["tp_hard"]) == 2


@pytest.fixture
def ours(planned, roots):
    """Our trainer, as nnU-Net finds it."""
    kind = recursive_find_trainer_class_by_name(TRAINER)
    return started(planned, roots, (*DEEP, "optimizer.lr=0.01"), "3d_fullres", kind=kind)


def test_our_trainer_has_our_optimiser_and_a_rate_for_every_step(ours) -> None:
    assert isinstance(ours.optimizer, torch.optim.AdamW)
    assert {group["weight_decay"] for group in ours.optimizer.param_groups} == {0.0, 0.01}
    assert (ours.num_epochs, ours.num_iterations_per_epoch) == (2, 10)
    assert torch.get_num_threads() == 1
    rates = []
    for _ in range(3):
        step_and_validate(ours)
        rates.append(ours.optimizer.param_groups[0]["lr"])
    assert 0 < rates[0] < rates[1] < rates[2] < 0.01  # it warms up
    ours.on_train_epoch_start()
    assert ours.lr_scheduler.done == 0
    ours.current_epoch = 1
    ours.on_train_epoch_start()
    assert ours.lr_scheduler.done == 10


def test_our_trainer_writes_what_predicts_without_it_and_what_it_goes_on_from(
    ours, monkeypatch
) -> None:
    step_and_validate(ours)
    file = Path(ours.output_folder) / "checkpoint_final.pth"
    ours.save_checkpoint(str(file))
    monkeypatch.delenv("nnUNet_extTrainer")
    predictor = nnUNetPredictor(device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(ours.output_folder_base, (0,))
    saved = weights_of(ours)
    step_and_validate(ours)
    ours.load_checkpoint(str(file))
    for state in (predictor.network.state_dict(), ours.network.state_dict()):
        assert all(torch.equal(saved[name], value) for name, value in state.items())
    assert ours.current_epoch == 1


def test_steps_whose_gradients_are_not_finite_are_left_out_and_counted(ours, monkeypatch) -> None:
    batch = next(ours.dataloader_train)
    batch["data"][:] = torch.nan
    before = weights_of(ours)
    monkeypatch.setattr(ours, "recipe", type(ours.recipe)(max_bad_steps=2))
    ours.train_step(batch)
    assert all(torch.equal(before[k], v) for k, v in ours.network.state_dict().items())
    with pytest.raises(MedssmError, match="2 steps in a row"):
        ours.train_step(batch)
