"""The way back to the image's own grid, against stock nnU-Net."""

import tracemalloc
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK
from nnunetv2.inference.export_prediction import (
    convert_predicted_logits_to_segmentation_with_correct_shape,
)
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medssm.core.errors import BadDataError
from medssm.data.labels import read_labels
from medssm.fields.segmentation.nnunet.preprocessing import run_case
from medssm.fields.segmentation.nnunet.restore import (
    preprocess_image,
    restore_class,
    restore_label,
    write_label,
)
from medssm.fields.segmentation.plan_file import read_plan


def logits_for(planned, image: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(size=(planned.plan.labels.num_outputs, *image.shape[1:])).astype(np.float32)


@pytest.mark.parametrize("kind", ["planned", "planned_regions"])
def test_label_equals_stock_export(kind: str, request) -> None:
    planned = request.getfixturevalue(kind)
    for case in planned.manifest.cases.values():
        image, properties = preprocess_image(case.images, planned.plan)
        logits = logits_for(planned, image)
        manager = PlansManager(dict(planned.plan.plans))
        stock = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits.copy(),
            manager,
            manager.get_configuration(planned.plan.configuration),
            manager.get_label_manager(dict(planned.plan.dataset)),
            properties,
            num_threads_torch=1,
        )
        np.testing.assert_array_equal(restore_label(logits, properties, planned.plan), stock)


def test_a_class_alone_is_known_inside_of_the_crop_only(planned) -> None:
    case = planned.manifest.cases["c0"]
    image, properties = preprocess_image(case.images, planned.plan)
    scores, inside = restore_class(logits_for(planned, image), 1, properties, planned.plan)
    shape = nibabel.load(case.images[0]).shape[::-1]
    assert scores.shape == inside.shape == shape
    assert inside.any()
    assert not inside.all()
    assert not scores[~inside].any()


def test_a_label_map_keeps_the_affine_the_codes_and_the_units_of_the_image(
    planned, tmp_path
) -> None:
    case = planned.manifest.cases["c1"]
    _, properties = preprocess_image(case.images, planned.plan)
    reference = nibabel.load(case.images[0])
    label = np.zeros(reference.shape[::-1], dtype=np.uint8)
    label[4, 3, 2] = 2
    write_label(label, tmp_path / "out.nii.gz", properties, planned.plan)
    written = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written.affine, reference.affine)
    for field in ("qform_code", "sform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(written.header[field], reference.header[field])
    assert written.get_data_dtype() == np.uint8
    # arrays are (z, y, x), NIfTI is (x, y, z)
    assert np.asarray(written.dataobj)[2, 3, 4] == 2
    assert np.asarray(written.dataobj).sum() == 2


def test_an_image_with_another_number_of_channels_is_refused(planned) -> None:
    case = planned.manifest.cases["c0"]
    with pytest.raises(BadDataError, match=r"1 channels\. Expected 2|could not be read"):
        preprocess_image(case.images[:1], planned.plan)


class ManyClasses:
    """Logits made when they are asked for: what is held in memory is what restoring holds."""

    def __init__(self, classes: int, shape: tuple[int, ...]) -> None:
        self.classes, self.shape, self.held = classes, shape, 0

    def __len__(self) -> int:
        return self.classes

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).random(self.shape, dtype=np.float32)


def many_labels(planned, classes: int):
    names = {"background": 0, **{f"organ_{i}": i for i in range(1, classes)}}
    dataset = {**planned.plan.dataset, "labels": names}
    return replace(planned.plan, dataset=dataset, labels=read_labels(dataset, "dataset.json"))


def enlarged(properties, factor: int):
    """The same image as if it had been larger along every axis."""
    shape = [factor * size for size in properties["shape_before_cropping"]]
    return {
        **properties,
        "shape_before_cropping": shape,
        "shape_after_cropping_and_before_resampling": shape,
        "bbox_used_for_cropping": [[0, size] for size in shape],
    }


def peak_bytes(planned, classes: int, factor: int = 3) -> int:
    image, properties = preprocess_image(planned.manifest.cases["c0"].images, planned.plan)
    shape = tuple(factor * size for size in image.shape[1:])
    plan = many_labels(planned, classes)
    tracemalloc.start()
    restore_label(ManyClasses(classes, shape), enlarged(properties, factor), plan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_classes(planned) -> None:
    few = peak_bytes(planned, 3)
    assert few > 100_000
    assert peak_bytes(planned, 40) < 1.1 * few


def test_more_values_than_a_byte_holds_are_kept(planned) -> None:
    image, properties = preprocess_image(planned.manifest.cases["c0"].images, planned.plan)
    logits = np.zeros((300, *image.shape[1:]), dtype=np.float32)
    logits[299] = 1
    label = restore_label(logits, properties, many_labels(planned, 300))
    inside = restore_class(logits, 0, properties, planned.plan)[1]
    assert label.dtype == np.uint16
    assert set(np.unique(label[inside])) == {299}


def test_a_label_on_the_plans_grid_comes_back_to_its_place_on_the_images_grid(planned) -> None:
    """What preprocessing did to the true label, restoring undoes up to a voxel's width."""
    for case in planned.manifest.cases.values():
        _, segmentation, properties = run_case(case.images, case.label, planned.plan)
        logits = np.stack([segmentation[0] == value for value in range(3)]).astype(np.float32)
        found = restore_label(logits, properties, planned.plan)
        truth = np.asarray(nibabel.load(case.label).dataobj).transpose(2, 1, 0)
        for value in (1, 2):
            both = np.sum((found == value) & (truth == value))
            assert 2 * both / (np.sum(found == value) + np.sum(truth == value)) > 0.9


def test_a_plan_in_two_dimensions_restores_every_plane_of_a_volume(planned) -> None:
    plan = read_plan(planned.workspace.plans_file(planned.plan.plans_name), "2d")
    case = planned.manifest.cases["c1"]
    image, properties = preprocess_image(case.images, plan)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, *image.shape[1:])).astype(np.float32)
    found = restore_label(logits, properties, plan)
    manager = PlansManager(dict(plan.plans))
    stock = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits.copy(), manager, manager.get_configuration("2d"),
        manager.get_label_manager(dict(plan.dataset)), properties, num_threads_torch=1,
    )  # fmt: skip
    np.testing.assert_array_equal(found, stock)
    assert found.shape == nibabel.load(case.images[0]).shape[::-1]


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_other_formats_keep_the_geometry_of_the_image(planned, tmp_path, ending: str) -> None:
    rng = np.random.default_rng(0)
    direction = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    files = []
    for channel in range(2):
        image = SimpleITK.GetImageFromArray(rng.normal(100, 9, (9, 14, 12)).astype(np.float32))
        image.SetSpacing((0.8, 1.1, 3.0))
        image.SetOrigin((-4.0, 7.0, 11.0))
        image.SetDirection(direction)
        files.append(tmp_path / f"scan_000{channel}{ending}")
        SimpleITK.WriteImage(image, files[-1])
    plan = replace(planned.plan, plans={**planned.plan.plans, "image_reader_writer": "SimpleITKIO"})
    image, properties = preprocess_image(files, plan)
    logits = np.zeros((3, *image.shape[1:]), dtype=np.float32)
    logits[2, :, :, : image.shape[3] // 2] = 1
    restored = restore_label(logits, properties, plan)
    write_label(restored, tmp_path / f"out{ending}", properties, plan)
    label = SimpleITK.ReadImage(tmp_path / f"out{ending}")
    scan = SimpleITK.ReadImage(files[0])
    assert label.GetSize() == scan.GetSize()
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(label, get)(), getattr(scan, get)(), atol=1e-6)
    voxels = SimpleITK.GetArrayFromImage(label)
    assert set(np.unique(voxels)) == {0, 2}
    assert voxels[:, :, :5].min() == 2
    assert voxels[:, :, -5:].max() == 0
