"""The four networks train on planes by their recipes: binary or not, grey and in colour."""

import json

import imageio.v3 as imageio
import numpy as np
import pytest

from medssm.cli.main import main
from tests.support.tiny import TINY_NETWORKS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

COURSE = (
    "trainer.max_epochs=1", "trainer.steps_per_epoch=2", "trainer.workers=0", "batch_size=2",
    "trainer.accelerator=cpu", "trainer.threads=1", "planner.workers=1", "preprocess.workers=1",
    "patch_size=[32,32]",
)  # fmt: skip


def answer(capsys, *words):
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def tiny(network):
    """The recipe's network, made small; its mixer keeps what the recipe says of it."""
    return [
        f"++network.{key}={json.dumps(value)}"
        for key, value in TINY_NETWORKS[network].items()
        if not isinstance(value, dict)
    ]


def _disc(shape, rng):
    y, x = np.mgrid[: shape[0], : shape[1]]
    middle = [rng.integers(size // 3, 2 * size // 3) for size in shape]
    return np.hypot(y - middle[0], x - middle[1]) < min(shape) / 5


def _isic(root, cases=4):
    rng = np.random.default_rng(0)
    for index in range(cases):
        part = root / ("train" if index < cases - 2 else "val")
        for folder in ("images", "masks"):
            (part / folder).mkdir(parents=True, exist_ok=True)
        lesion = _disc((60, 48), rng)
        picture = np.where(lesion[..., None], (120, 80, 60), (220, 180, 170)).astype(np.uint8)
        imageio.imwrite(part / "images" / f"ISIC_{index}.jpg", picture)
        mask = 255 * lesion.astype(np.uint8)
        imageio.imwrite(part / "masks" / f"ISIC_{index}_segmentation.png", mask)
    return root


def _lungs(root, cases=4):
    rng = np.random.default_rng(0)
    for index in range(cases):
        lungs = [_disc((40, 48), rng) for _ in range(2)]
        name = f"MCUCXR_000{index}_0.png"
        for folder, pixels in (
            ("CXR_png", 200 - 90 * (lungs[0] | lungs[1])),
            ("ManualMask/leftMask", 255 * lungs[0]),
            ("ManualMask/rightMask", 255 * lungs[1]),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            imageio.imwrite(root / folder / name, pixels.astype(np.uint8))
    return root


def _synapse(root, cases=3, depth=3):
    rng = np.random.default_rng(0)
    (root / "train_npz").mkdir(parents=True)
    for case in range(cases):
        for index in range(depth):
            label = np.zeros((74, 74), np.float32)
            for value in range(1, 9):
                label[_disc(label.shape, rng)] = value
            image = (label / 8 + rng.normal(0, 0.02, label.shape)).astype(np.float32)
            file = root / "train_npz" / f"case{case:04d}_slice{index:03d}.npz"
            np.savez(file, image=image, label=label)
    return root


@pytest.mark.parametrize(
    ("kind", "recipe", "network", "words"),
    [
        ("isic", "isic17_vm_unet", "vm_unet", ("--size", "32")),
        ("isic", "isic17_mhs_vm", "mhs_vm", ("--size", "32")),
        ("lungs", "lungs_lightm_unet", "lightm_unet", ()),
        ("synapse", "synapse_msvm_unet", "msvm_unet", ()),
        ("synapse", "synapse_vm_unet", "vm_unet", ()),
    ],
)
def test_a_recipe_runs_from_the_files_of_its_data_to_scores(
    tmp_path, capsys, kind, recipe, network, words
):
    source = {"isic": _isic, "lungs": _lungs, "synapse": _synapse}[kind](tmp_path / "source")
    home = ("--home", tmp_path / "home")
    answer(capsys, "import", kind, source, "--name", "Dataset011_Tiny", *words, *home)
    study = (f"experiment={recipe}", "fold=0", *COURSE, *tiny(network))
    model = answer(capsys, "train", 11, *study, *home)["model"]
    content = json.loads((tmp_path / model / "model.json").read_text())
    assert content["network"]["name"] == network
    assert content["network"]["spatial_dims"] == 2
    assert content["network"]["in_channels"] == (1 if kind == "synapse" else 3)
    assert content["network"]["out_channels"] == (9 if kind == "synapse" else 2)
    plan = json.loads((tmp_path / model / "plans.json").read_text())["configurations"]["2d"]
    if kind == "synapse":
        # 74 pixels at 1 mm become 32 of 2.29 mm; labels come back to 74
        assert plan["median_image_size_in_voxels"] == [32.0, 32.0]
    convention = "synapse" if kind == "synapse" else "isic"
    scores = answer(capsys, "evaluate", model, "-o", tmp_path / "s", f"convention={convention}")
    assert scores["cases"] >= 1
    assert all(value >= 0 for value in scores["as_published"]["mean"].values())
