"""The facts beside a program: whoever has nothing else comes to the labels that we predict."""

import math
from itertools import combinations, product

import numpy as np
import pytest
import SimpleITK
import torch
from skimage.transform import resize

from medssm.data.labels import Labels
from medssm.fields.segmentation.export_programs import Programs, ProgramWish
from medssm.fields.segmentation.program_facts import description, output_names
from medssm.fields.segmentation.trained import open_model
from tests.support.model_folder import make_model_folder


@pytest.fixture(params=["planned", "planned_regions"])
def programs(request):
    planned = request.getfixturevalue(request.param)
    folder = make_model_folder(planned.plan, planned.workspace, (0,), run="facts")
    return Programs(open_model(folder, [0]), ProgramWish())


def test_the_facts_alone_lead_from_a_file_to_our_label(programs):
    facts = description(programs.model, programs.network)
    images = [SimpleITK.ReadImage(str(file)) for file in programs.case.files]
    label = _label(facts, images, programs.network)
    assert 0 < np.mean(label > 0) < 1
    assert np.mean(label == programs.our_label) >= 0.9999


def test_logits_are_named_by_the_value_of_their_class_in_whatever_order_it_was_declared():
    labels = Labels({"background": 0, "core": 2, "shell": 1, "ignore": 3})
    assert output_names(labels) == ("background", "shell", "core")


def _label(facts, images, network):
    """What the sentences of the facts say, in numpy."""
    order = facts["before"]["axes"]["order"]
    x = np.stack([SimpleITK.GetArrayFromImage(each).astype(np.float32) for each in images])
    x = x.transpose(0, *(axis + 1 for axis in order))
    inside = np.nonzero((x != 0).any(axis=0))
    box = tuple(slice(each.min(), each.max() + 1) for each in inside)
    full, x = x.shape[1:], x[(slice(None), *box)]
    for channel, rule in zip(x, facts["before"]["normalisation"], strict=True):
        if "clip" in rule:
            channel[:] = (channel.clip(*rule["clip"]) - rule["mean"]) / rule["std"]
            continue
        assert (rule["scheme"], rule["voxels"]) == ("ZScoreNormalization", "all of the crop")
        channel[:] = (channel - channel.mean()) / channel.std()
    before = [images[0].GetSpacing()[::-1][axis] for axis in order]
    rule = facts["before"]["resampling"]
    size = [
        round(n * b / w) for n, b, w in zip(x.shape[1:], before, rule["spacing_mm"], strict=True)
    ]
    small = x.shape[1:]
    assert rule["planes_one_by_one"].startswith("where the image's or else the plan's longest")
    sides = next((each for each in (before, rule["spacing_mm"]) if max(each) > 3 * min(each)), None)
    thick = None if sides is None else int(np.argmax(sides))
    x = _resized(x, size, rule["spline_order"], thick)
    logits = _resized(_windows(facts["windows"], x, network), small, 1, thick)
    label = np.zeros(full, np.uint8)
    values = facts["output"].get("values")
    if values is None:
        label[box] = logits.argmax(axis=0)
    for value, one in zip(values or (), logits, strict=False):
        label[box][one > 0] = value
    return label.transpose(np.argsort(order))


def _resized(x, size, order, thick):
    if list(x.shape[1:]) == list(size):
        return x

    def fit(one, size):
        return resize(one.astype(float), size, order, mode="edge", anti_aliasing=False)

    if thick is None:
        return np.stack([fit(each, size) for each in x]).astype(np.float32)
    plane = [each for axis, each in enumerate(size) if axis != thick]
    planes = [[fit(one, plane) for one in np.moveaxis(each, thick, 0)] for each in x]
    return np.moveaxis(np.asarray(planes, np.float32), 1, thick + 1)


def _windows(facts, x, network):
    size = facts["size"]
    pads = [(max(0, w - n) // 2, -(-max(0, w - n) // 2))
            for n, w in zip(x.shape[1:], size, strict=True)]  # fmt: skip
    x = np.pad(x, [(0, 0), *pads])
    starts = []
    for n, w in zip(x.shape[1:], size, strict=True):
        steps = math.ceil((n - w) / (w * (1 - facts["overlap"])))
        starts.append([round((n - w) / max(1, steps) * i) for i in range(steps + 1)])
    away = [((np.arange(w) - w // 2) / (w / 8)) ** 2 for w in size]
    weight = np.exp(-sum(np.meshgrid(*away, indexing="ij")) / 2)
    axes = facts["mirror_axes"]
    sets = [each for count in range(len(axes) + 1) for each in combinations(axes, count)]
    total, weights = 0.0, np.zeros(x.shape[1:])
    for place in product(*starts):
        at = tuple(slice(s, s + w) for s, w in zip(place, size, strict=True))
        patch = torch.from_numpy(x[(slice(None), *at)])[None]
        found = 0
        for each in sets:
            flipped = [axis + 2 for axis in each]
            with torch.no_grad():
                found = found + network(patch.flip(flipped)).flip(flipped)[0].numpy() / len(sets)
        if isinstance(total, float):
            total = np.zeros((len(found), *x.shape[1:]))
        total[(slice(None), *at)] += found * weight
        weights[at] += weight
    inner = [slice(a, n - b) for (a, b), n in zip(pads, x.shape[1:], strict=True)]
    return (total / weights)[(slice(None), *inner)]
