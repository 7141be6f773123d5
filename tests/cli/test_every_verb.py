"""Each verb, told to be quiet or to answer in JSON: what a script may rely on."""

import json
from pathlib import Path

import pytest

from medssm.cli.main import main
from medssm.cli.verbs import VERBS
from medssm.data import phantom
from medssm.data.phantom import PhantomShape, make_phantom_dataset

pytestmark = [pytest.mark.slow]

TINY = (
    "network=lightm_unet", "network.init_filters=8", "network.blocks_down=[1,1]",
    "network.blocks_up=[1]", "patch_size=[8,16,16]", "trainer.max_time=null",
    "trainer.max_epochs=1", "trainer.steps_per_epoch=2", "trainer.workers=0",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "budget=cpu",
    "trainer.threads=1", "planner.workers=1", "preprocess.workers=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def words_of(tmp_path_factory):
    """A command line of every verb, on a study that has been through once."""
    root = tmp_path_factory.mktemp("verbs")
    raw, home = root / "Dataset001_Phantom", root / "home"
    make_phantom_dataset(raw, cases=3, held_back=1, shape=PhantomShape(size=(8, 18, 18)))
    study = (str(raw), *TINY, "--home", str(home))
    patch = pytest.MonkeyPatch()
    with patch.context() as small:
        _small_demo(small)
        assert main(["train", *study]) == 0
        (model,) = (home / "results" / raw.name).iterdir()
        predict = ("-i", str(raw / "imagesTs"), "-o", str(root / "out"), "device=cpu")
        assert main(["predict", str(model), *predict]) == 0
        yield {
            "import": ("nnunet", str(raw), "--home", str(home)),
            "plan": study,
            "preprocess": study,
            "train": study,
            "predict": (str(model), *predict),
            "evaluate": (str(root / "out"), "-r", str(raw / "labelsTs"), "overlays=1"),
            "export": (str(model), str(root / "w"), "--to", "safetensors", "--force"),
            "show": ("networks", "lightm_unet"),
            "doctor": ("--home", str(home)),
            "demo": ("segmentation", *TINY, "--home", str(root / "demo")),
        }


def _small_demo(patch):
    original = phantom.make_phantom_dataset

    def small(folder, cases, held_back, seed):
        assert (cases, held_back) == (20, 5)
        return original(folder, 3, 2, seed, PhantomShape(size=(8, 18, 18)))

    patch.setattr(phantom, "make_phantom_dataset", small)


def test_there_is_a_command_line_for_every_verb(words_of):
    assert set(words_of) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_quiet_verb_says_its_result_and_no_story(words_of, verb, capsys):
    assert main([verb, *words_of[verb], "--quiet"]) == 0
    spoken = capsys.readouterr()
    lines = spoken.out.strip().splitlines()
    writes_nothing = verb in ("show", "doctor")
    assert len(lines) > 1 if writes_nothing else len(lines) == 1
    if not writes_nothing:
        assert lines[0].startswith("wrote ")
    assert spoken.err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_one_object_that_names_files_and_the_next_command(words_of, verb, capsys):
    assert main([verb, *words_of[verb], "--json", "-q"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["verb"], answer["exit_code"]) == (True, verb, 0)
    if verb in ("show", "doctor"):
        assert answer["written"] == []
    else:
        assert all(Path(path).exists() for path in answer["written"])
        assert answer["written"]
    following = answer["next"].split()
    assert not following or (following[0] == "medssm" and following[1] in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_slip_in_json_is_one_object_with_the_error_and_its_code(words_of, verb, capsys):
    assert main([verb, *words_of[verb], "--no-such-flag", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["exit_code"]) == (False, 2)
    assert "--no-such-flag" in answer["error"]


def test_the_demo_of_another_seed_ends_with_its_own_dice_and_report(words_of, capsys):
    assert main(["demo", *words_of["demo"], "--seed", "3"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert any(line.startswith("foreground Dice on the held-back phantoms: 0.") for line in lines)
    report = lines[-1].removeprefix("wrote ").partition(";")[0]
    assert "Phantom_3" in report
    assert "<html" in Path(report).read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", ["three", "-1", "1.5"])
def test_a_seed_that_is_no_number_is_a_slip(words_of, capsys, seed):
    assert main(["demo", *words_of["demo"], f"--seed={seed}"]) == 2
    assert "whole number" in capsys.readouterr().err
