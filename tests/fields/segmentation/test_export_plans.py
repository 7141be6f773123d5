import shutil

import pytest

from medssm.cli.main import main
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, write_json
from medssm.fields.segmentation.export_plans import export_plans, find_plans
from medssm.fields.segmentation.nnunet.trainers import FOLDER, TRAINER
from medssm.fields.segmentation.plan_file import read_plan
from medssm.fields.segmentation.plan_wishes import read_wishes
from medssm.networks.nnunet import CLASS_PATH
from medssm.runs.field import ExportRequest

SMALL = ("network.init_filters=8", "network.blocks_down=[1,1,1]", "network.blocks_up=[1,1]")


def request(source, *words, force=False, home=None):
    return ExportRequest(source, source, "nnunet", home or source, False, words, force)


@pytest.fixture
def folder(planned, tmp_path):
    """Plans without a store, in a folder of the data set's name."""
    target = tmp_path / "preprocessed" / planned.workspace.dataset
    target.mkdir(parents=True)
    for file in planned.workspace.preprocessed.glob("*.json"):
        shutil.copy(file, target)
    return target


@pytest.fixture
def stock(folder):
    """The same as a plan of nnU-Net's own, with patches that fit nothing and a cascade."""
    plans = read_json(folder / "medssmPlans.json")
    del plans["medssm"]
    settings = plans["configurations"]
    settings["3d_fullres"] |= {"patch_size": [10, 23, 21], "batch_size": 9}
    settings["2d"] |= {"patch_size": [23, 21]}
    settings["3d_bs4"] = {"inherits_from": "3d_fullres", "batch_size": 4}
    settings["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    settings["3d_lowres"] = dict(settings["3d_fullres"])
    (folder / "medssmPlans.json").unlink()
    write_json(folder / "nnUNetPlans.json", {**plans, "plans_name": "nnUNetPlans"})
    return folder / "nnUNetPlans.json"


def test_our_plan_keeps_patch_and_batch_with_the_network_it_was_made_for(folder, planned) -> None:
    made = export_plans(request(folder))
    plans = read_json(folder / "lightm_unetPlans.json")
    before = planned.plan.plans["configurations"]
    assert plans["plans_name"] == "lightm_unetPlans"
    # with the key of our own plans it would be planned anew
    assert "medssm" not in plans
    for name, settings in plans["configurations"].items():
        kept = {key: value for key, value in settings.items() if key != "architecture"}
        assert kept == {k: v for k, v in before[name].items() if k != "architecture"}
        architecture = settings["architecture"]
        assert architecture["network_class_name"] == CLASS_PATH
        assert architecture["arch_kwargs"]["network"]["name"] == "lightm_unet"
    assert made.facts["nnUNet_extTrainer"] == str(FOLDER)
    assert (FOLDER / "nnunet_trainer_medssm.py").is_file()


def test_a_stock_plan_gets_patches_that_fit_the_network(stock) -> None:
    made = export_plans(request(stock, "network=lightm_unet", *SMALL))
    plan = read_plan(stock.with_name("lightm_unetPlans.json"), "3d_fullres")
    assert plan.patch_size == (12, 24, 24)
    settings = plan.plans["configurations"]
    assert settings["2d"]["patch_size"] == [24, 24]
    assert settings["3d_lowres"]["patch_size"] == [12, 24, 24]
    # what inherits goes on inheriting
    assert settings["3d_bs4"] == {"inherits_from": "3d_fullres", "batch_size": 4}
    assert settings["3d_cascade_fullres"].keys() == {"inherits_from", "previous_stage"}
    assert plan.data_identifier == read_plan(stock).data_identifier
    assert "3d_fullres: patch 12x24x24 (was 10x23x21), batch 9" in made.lines
    assert any("not preprocessed" in line for line in made.lines)


def test_little_memory_makes_batch_and_patch_small(stock) -> None:
    words = ("network=lightm_unet", *SMALL, "planner.max_voxels_3d=3000", "plans_name=tight")
    export_plans(request(stock, *words))
    plan = read_plan(stock.with_name("tight.json"), "3d_fullres")
    assert plan.patch_size[0] * plan.patch_size[1] * plan.patch_size[2] <= 3000
    assert all(size % 4 == 0 for size in plan.patch_size)
    words = ("network=lightm_unet", *SMALL, "planner.memory_gb=0.05", "plans_name=tighter")
    export_plans(request(stock, *words))
    assert read_plan(stock.with_name("tighter.json"), "3d_fullres").batch_size == 2


def test_only_some_configurations_are_taken_over_with_what_they_need(stock) -> None:
    words = ("network=lightm_unet", *SMALL)
    with pytest.raises(UsageError, match="3d_bs4 needs 3d_fullres"):
        export_plans(request(stock, *words, "configurations=[3d_bs4]"))
    export_plans(request(stock, *words, "configurations=[2d]"))
    plans = read_json(stock.with_name("lightm_unetPlans.json"))
    assert list(plans["configurations"]) == ["2d"]


def test_the_recipe_of_our_trainer_travels_in_the_plans(stock) -> None:
    words = ("optimizer=sgd", "optimizer.lr=0.02", "schedule=cosine", "trainer.max_epochs=7")
    export_plans(request(stock, "network=lightm_unet", *SMALL, *words, "budget=gpu_8gb"))
    recipe = read_json(stock.with_name("lightm_unetPlans.json"))["medssm_recipe"]
    assert recipe["optimizer"]["name"] == "sgd"
    assert recipe["optimizer"]["lr"] == 0.02
    assert recipe["schedule"]["name"] == "cosine"
    assert recipe["max_epochs"] == 7


@pytest.mark.parametrize("word", ["trainer.ema_decay=0.9", "augmentation=none", "patch_size=[8,8]"])
def test_a_word_that_nothing_would_read_is_refused(word) -> None:
    with pytest.raises(UsageError, match="nothing in nnU-Net reads it"):
        read_wishes([word])


@pytest.mark.parametrize("name", ["a__b", "a/b", "../x", ""])
def test_names_that_nnunet_would_split_or_lose_are_refused(name) -> None:
    with pytest.raises(UsageError, match="plans_name"):
        read_wishes([f"plans_name='{name}'"])


def test_plans_are_not_written_over(stock) -> None:
    words = ("network=lightm_unet", *SMALL)
    export_plans(request(stock, *words))
    with pytest.raises(UsageError, match="is there already"):
        export_plans(request(stock, *words))
    export_plans(request(stock, *words, force=True))
    with pytest.raises(UsageError, match="is what the plans are made from"):
        export_plans(request(stock, *words, "plans_name=nnUNetPlans", force=True))


def test_what_is_missing_is_named(stock, tmp_path) -> None:
    with pytest.raises(UsageError, match="network=lightm_unet"):
        export_plans(request(stock))
    write_json(stock.with_name("otherPlans.json"), read_json(stock))
    stock.rename(stock.with_name("strangePlans.json"))
    with pytest.raises(BadDataError, match=r"otherPlans.json, strangePlans.json"):
        find_plans(stock.parent, tmp_path)


def test_the_command_line_takes_the_word_plans(stock, capsys, monkeypatch) -> None:
    monkeypatch.chdir(stock.parents[2])
    words = [
        "export",
        "plans",
        str(stock.relative_to(stock.parents[2])),
        "network=lightm_unet",
        *SMALL,
    ]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert f"export nnUNet_extTrainer={FOLDER}" in told
    assert f"export nnUNet_preprocessed={stock.parents[1]}\n" in told
    assert f"-p lightm_unetPlans -tr {TRAINER}" in told
    assert main([*words, "--to", "onnx"]) == 2
