"""What papers do to slices keeps picture and label together and repeats from a seed."""

import pytest
import torch

from medssm.core.errors import UsageError
from medssm.fields.segmentation.slice_augmentation import slice_transforms
from medssm.fields.segmentation.train_config import AugmentationConfig


def _planes(shape=(12, 12)):
    label = torch.zeros(1, *shape)
    label[:, 2:7, 3:9] = 1
    return {"image": label.repeat(3, 1, 1) * 5.0, "segmentation": label.to(torch.int16)}


@pytest.mark.parametrize("name", ["isic", "transunet"])
@pytest.mark.parametrize("shape", [(12, 12), (12, 10)])
def test_picture_and_label_move_together_and_keep_their_shape(name, shape):
    transforms = slice_transforms(name, 2)
    torch.manual_seed(0)
    seen = set()
    for _ in range(40):
        planes = _planes(shape)
        made = transforms(**planes)
        assert made["image"].shape == planes["image"].shape
        assert torch.equal(made["image"][:1], made["segmentation"] * 5.0)
        seen.add(made["segmentation"].numpy().tobytes())
    assert len(seen) > 5


@pytest.mark.parametrize("name", ["isic", "transunet", "msvm"])
def test_the_same_seed_gives_the_same_slice(name):
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append([slice_transforms(name, 2)(**_planes())["image"] for _ in range(5)])
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


def test_the_list_of_msvm_changes_pictures_keeps_labels_whole_and_shapes():
    transforms = slice_transforms("msvm", 2)
    torch.manual_seed(0)
    kept, moved, values = 0, 0, set()
    for _ in range(60):
        planes = _planes((12, 10))
        made = transforms(**planes)
        assert made["image"].shape == (3, 12, 10)
        assert made["image"].dtype == torch.float32
        assert made["segmentation"].dtype == torch.int16
        values |= set(made["segmentation"].unique().tolist())
        kept += torch.equal(made["image"], planes["image"])
        moved += not torch.equal(made["segmentation"], planes["segmentation"])
    assert values == {0, 1}
    # none of the list in a fifth of the draws, and flips of a half
    assert 5 < kept < 35
    assert moved > 20


def test_volumes_and_unknown_names_are_refused():
    with pytest.raises(UsageError, match=r"planner\.configuration=2d"):
        slice_transforms("isic", 3)
    with pytest.raises(UsageError, match="nnunet, isic, transunet, msvm, none"):
        AugmentationConfig(name="imgaug")
