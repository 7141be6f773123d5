"""The way back to the image's own grid, against stock nnU-Net."""

import nibabel
import numpy as np
import pytest
from nnunetv2.inference.export_prediction import (
    convert_predicted_logits_to_segmentation_with_correct_shape,
)
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medssm.core.errors import BadDataError
from medssm.fields.segmentation.nnunet.restore import (
    preprocess_image,
    restore_class,
    restore_label,
    write_label,
)


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
