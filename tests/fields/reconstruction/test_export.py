"""Export: programs answer as predict does, weights go to DIRECT and come back."""

from dataclasses import asdict

import pytest
import torch
import yaml
from safetensors.torch import load_file

from medssm.core.errors import UsageError
from medssm.core.files import read_json, write_json
from medssm.fields.reconstruction.demo import make_scans
from medssm.fields.reconstruction.masks_of_cases import fixed
from medssm.fields.reconstruction.model_folder import open_model
from medssm.fields.reconstruction.preparation import Preparation, prepare
from medssm.fields.reconstruction.stages import FIELD
from medssm.fields.reconstruction.travel import (
    ReadKspaced,
    SaveReconstructiond,
    list_volumes,
)
from medssm.mri.coils import rss
from medssm.mri.fourier import ifft2
from medssm.mri.undersampling import draw_mask
from medssm.networks import RECONSTRUCTION_NETWORKS
from medssm.networks.keymaps.direct_config import load_direct
from medssm.runs.field import ExportRequest
from medssm.training.checkpoints import write_weights

NETWORK = {
    "name": "recurrent_varnet", "num_steps": 2, "hidden_channels": 4, "num_layers": 2,
    "initializer": "sense", "initializer_channels": [4, 6], "initializer_dilations": [1, 2],
    "multiscale": 2, "refinement": True, "refinement_filters": 2, "refinement_pools": 2,
}  # fmt: skip


def make_model(folder, scaling="image", centred=True, **changes):
    """A model folder with the weights of a seed."""
    arguments = {**NETWORK, "centred": centred, **changes}
    torch.manual_seed(0)
    network = RECONSTRUCTION_NETWORKS.build(**arguments)
    preparation = asdict(Preparation(scaling=scaling, centred=centred))
    write_json(folder / "model.json", {
        "format": 1, "field": "reconstruction", "dataset": "Dataset001_D", "network": arguments,
        "preparation": preparation, "sampling": {}, "supervision": "measured",
    })  # fmt: skip
    write_weights(folder / "fold_0" / "weights.safetensors", network.state_dict())
    return folder


def _export(model, file, kind, *words, force=False):
    return FIELD.export(
        ExportRequest(model, file, kind, model.parent, overrides=words, force=force)
    )


def _slice(coils, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = draw_mask("random", size, 3, 0.3, seed)
    kspace = torch.randn(coils, *size, 2, generator=generator) * drawn.sampled[..., None]
    return kspace, drawn


def _predicted(model, kspace, drawn):
    """What the soft path of predict makes of a slice."""
    opened = open_model(model)
    ready = prepare(kspace, fixed(drawn), opened.preparation, known=False)
    with torch.no_grad():
        made = opened.network()(ready.masked[None], ready.mask[None], ready.maps[None])
    return rss(ifft2(made * ready.scale, opened.preparation.centred))[0]


def _inputs(kspace, drawn):
    masks = (each[None, None, :, :, None] for each in (drawn.sampled, drawn.acs))
    return (kspace[None], *masks)


def test_a_program_takes_any_batch_coils_and_size(tmp_path):
    model = make_model(tmp_path / "model", "kspace", centred=False, refinement_pools=1)
    answer = _export(model, tmp_path / "m.pt2", "pt2")
    assert answer.facts["size"] == "any"
    assert answer.facts["largest_difference"] < 1e-5
    program = torch.export.load(tmp_path / "m.pt2").module()
    for coils, size in ((2, (40, 33)), (7, (52, 70))):
        kspace, drawn = _slice(coils, size)
        with torch.no_grad():
            image, _ = program(*_inputs(kspace, drawn))
        assert torch.allclose(image[0], _predicted(model, kspace, drawn), atol=1e-4)
    assert read_json(tmp_path / "m.pt2.json")["preparation"]["scaling"] == "kspace"


def test_onnx_needs_no_complex_numbers(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = make_model(tmp_path / "model", refinement=False, num_steps=1)
    _export(model, tmp_path / "m.onnx", "onnx")
    session = runtime.InferenceSession((tmp_path / "m.onnx").read_bytes())
    names = [each.name for each in session.get_inputs()]
    assert names == ["kspace", "mask", "acs"]
    kspace, drawn = _slice(3, (41, 36))
    values = (each.numpy() for each in _inputs(kspace, drawn))
    image, _ = session.run(None, dict(zip(names, values, strict=True)))
    expected = _predicted(model, kspace, drawn)
    assert torch.allclose(torch.from_numpy(image)[0], expected, atol=1e-4)


def test_a_program_of_one_coil_and_one_with_given_maps(tmp_path):
    model = make_model(tmp_path / "model", refinement=False, initializer="none", num_steps=1)
    _export(model, tmp_path / "one.pt2", "pt2", "coils=1")
    kspace, drawn = _slice(1, (40, 33))
    with torch.no_grad():
        image, _ = torch.export.load(tmp_path / "one.pt2").module()(*_inputs(kspace, drawn))
    assert torch.allclose(image[0], _predicted(model, kspace, drawn), atol=1e-4)
    answer = _export(model, tmp_path / "maps.pt2", "pt2", "maps=given")
    assert "maps" in answer.facts["takes"]


def test_a_checkpoint_for_direct_comes_back_whole(tmp_path):
    model = make_model(tmp_path / "model", "kspace", centred=False, shared=True, normalised=True)
    answer = _export(model, tmp_path / "direct", "direct")
    assert answer.facts["same_scale"] is True
    content = torch.load(tmp_path / "direct" / "model_0.pt", weights_only=True)
    assert "block_list.0.regularizer.convgru.conv_blocks.0.1.weight" in content["model"]
    assert "down_sample_layers.0.layers.0.weight" in content["sensitivity_model"]
    config = yaml.safe_load((tmp_path / "direct" / "config.yaml").read_text())
    assert config["model"]["num_steps"] == 2
    assert config["physics"]["forward_operator"] == "fft2(centered=False)"
    network, _ = load_direct(tmp_path / "direct" / "model_0.pt", tmp_path / "direct/config.yaml")
    kspace, drawn = _slice(3, (24, 20))
    masked, mask, _ = _inputs(kspace, drawn)
    ours = open_model(model).network()
    with torch.no_grad():
        assert torch.equal(ours(masked, mask, masked), network(masked, mask, masked))


def test_direct_is_told_where_its_images_will_differ(tmp_path):
    model = make_model(tmp_path / "model")
    answer = _export(model, tmp_path / "direct", "direct")
    assert any("planner.normalisation=kspace" in line for line in answer.lines)
    assert "differ" in (tmp_path / "direct" / "config.yaml").read_text()


def test_a_unit_of_ours_is_refused_for_direct(tmp_path):
    model = make_model(tmp_path / "model", unit="step_scan", initializer="none")
    with pytest.raises(UsageError, match="StepScan"):
        _export(model, tmp_path / "direct", "direct")
    assert not (tmp_path / "direct").exists()


def test_weights_alone_and_what_is_refused(tmp_path):
    model = make_model(tmp_path / "model")
    _export(model, tmp_path / "w.safetensors", "safetensors")
    assert "blocks.0.step_size" in load_file(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="there already"):
        _export(model, tmp_path / "w.safetensors", "safetensors")
    with pytest.raises(UsageError, match=r"writes \.pt2"):
        _export(model, tmp_path / "w.onnx", "pt2")
    with pytest.raises(UsageError, match="safetensors"):
        _export(model, tmp_path / "b", "nnunet")
    with pytest.raises(UsageError, match="size"):
        _export(model, tmp_path / "p", "pt2", "size=[8,8]")


def test_a_bundle_without_medssm_gives_what_predict_gives(tmp_path):
    model = make_model(tmp_path / "model", num_steps=1, refinement_pools=1)
    answer = FIELD.export(ExportRequest(model, tmp_path / "bundle", "bundle", tmp_path, embed=True))
    assert answer.facts["proven"] is True
    assert answer.facts["volumes"] == 2
    assert answer.facts["largest_difference_of_a_pixel"] < 1e-5
    assert "reconstruction" in (tmp_path / "bundle" / "docs" / "README.md").read_text()
    with pytest.raises(UsageError, match="there already"):
        FIELD.export(ExportRequest(model, tmp_path / "bundle", "bundle", tmp_path))


def test_a_file_that_cannot_be_read_costs_itself_in_a_bundle(tmp_path):
    (tmp_path / "cut.h5").write_bytes(b"nothing")
    read = ReadKspaced("image", {}, centred=True)
    case = read({"image": str(tmp_path / "cut.h5"), "case": "cut"})
    assert "cut.h5" in case["problem"]
    told = SaveReconstructiond("pred", str(tmp_path / "out"))({**case, "pred": case["image"]})
    assert told["answer"]["rows"] == []


def test_a_bundle_refuses_the_other_origin(tmp_path):
    make_scans(tmp_path, 1, seed=0, size=(32, 24), slices=1)
    (found,) = list_volumes(str(tmp_path))
    case = ReadKspaced("image", {"center_fractions": (0.2,)}, centred=False)(found)
    assert "transform" in case["problem"]
