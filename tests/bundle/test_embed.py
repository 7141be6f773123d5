"""Embedded code: complete, renamed, and alone."""

import subprocess
import sys

import pytest

from medssm.bundle.embed import embed_network, embedded
from medssm.bundle.proof import hide_medssm
from medssm.networks import ECG_NETWORKS

SMALL = "init_filters=8, blocks_down=(1, 1), blocks_up=(1,)"


@pytest.mark.parametrize(
    ("network", "arguments"),
    [("lightm_unet", SMALL), ("vm_unet", "width=8, depths=(1, 1), decoder_depths=(1, 1)")],
)
def test_a_network_runs_where_medssm_is_hidden(network, arguments, tmp_path):
    target = embed_network({"name": network}, tmp_path / "scripts")
    hidden = hide_medssm(tmp_path / "hidden")
    module, _, name = target.rpartition(".")
    code = (
        f"import torch\nfrom {module} import {name}\n"
        f"net = {name}(spatial_dims=2, in_channels=1, out_channels=2, {arguments})\n"
        "print(tuple(net(torch.zeros(1, 1, 32, 32)).shape))\n"
        "try:\n    import medssm\nexcept ImportError:\n    print('hidden')\n"
    )
    path = f"{hidden}:{tmp_path}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PYTHONPATH": path, "PATH": "/usr/bin", "HOME": str(tmp_path),
             "MEDSSM_NATIVE": "none"},
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["(1, 2, 32, 32)", "hidden"], done.stderr[-2000:]


def test_no_line_of_embedded_code_imports_medssm(tmp_path):
    embed_network({"name": "lightm_unet"}, tmp_path / "scripts")
    files = list((tmp_path / "scripts").rglob("*.py"))
    assert files
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        strange = [li for li in lines if li.strip().startswith(("from medssm", "import medssm"))]
        assert strange == [], file


def test_more_modules_travel_with_their_tables_and_without_our_extras(tmp_path):
    target = embed_network(
        {"name": "xresnet1d101"}, tmp_path / "scripts", ECG_NETWORKS, ["medssm.data.ecg.read"]
    )
    assert target == embedded("medssm.networks.xresnet1d.XResNet1d")
    copied = tmp_path / "scripts" / "medssm_embedded"
    assert (copied / "data" / "ecg" / "challenge_tables.json").is_file()
    assert (copied / "data" / "ecg" / "wfdb_files.py").is_file()
    assert not (copied / "fields").exists()
    assert "medssm[" not in (copied / "core" / "extras.py").read_text(encoding="utf-8")
