"""The house rules: floors, names, sizes, prints, environment, cold start, frozen verbs."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medssm.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "medssm"
SOURCES = sorted(PACKAGE.rglob("*.py"))
# file -> why it may be longer
LONG_FILES: dict[str, str] = {}
# file -> why it may read the environment
ENVIRONMENT = {
    "medssm/ops/backends.py": "MEDSSM_BACKEND",
    "medssm/cli/main.py": "MEDSSM_HOME, and OpenMP's waiting before torch is loaded",
    "medssm/cli/answer.py": "NO_COLOR",
    "medssm/core/log.py": "TERM",
    "medssm/ops/native/build.py": "the user's cache folder and compiler",
    "medssm/ops/native/variants.py": "MEDSSM_NATIVE",
    "medssm/ops/scan/triton_backend.py": "TRITON_INTERPRET, which Triton itself obeys",
    "medssm/training/ranks.py": "Lightning's launcher leaves its variables behind",
    "medssm/bundle/proof.py": "MONAI's own programs run with it, and with a few words more",
    "medssm/fields/segmentation/nnunet/staging.py": "nnunetv2 finds folders by variables",
    "medssm/fields/segmentation/nnunet/stock.py": "nnU-Net's own program runs with it",
}


def _name(path):
    return path.relative_to(ROOT).as_posix()


def _code(path):
    return path.read_text(encoding="utf-8")


def test_imports_only_go_down():
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_files_stay_under_300_lines():
    long = {_name(p): n for p in SOURCES if (n := len(_code(p).splitlines())) > 300}
    assert long.keys() <= LONG_FILES.keys(), long


def test_no_file_is_named_for_nothing():
    words = {"utils", "helpers", "common", "misc", "util", "helper"}
    assert [
        _name(p) for p in SOURCES if words & set(p.relative_to(PACKAGE).with_suffix("").parts)
    ] == []


def test_every_file_says_its_idea_in_its_first_line():
    assert [_name(p) for p in SOURCES if not _code(p).startswith(('"""', 'r"""'))] == []


def test_only_dims_knows_two_and_three_dimensions():
    pattern = re.compile(r"\b(Conv|ConvTranspose|MaxPool|AvgPool|InstanceNorm|BatchNorm)[23]d\b")
    found = [_name(p) for p in SOURCES if pattern.search(_code(p))]
    assert set(found) <= {"medssm/layers/dims.py"}


def test_the_library_does_not_print():
    pattern = re.compile(r"^\s*print\(", re.MULTILINE)
    assert [_name(p) for p in SOURCES if pattern.search(_code(p))] == []


def test_the_environment_is_read_where_it_is_known_to_be():
    pattern = re.compile(r"os\.(environ|getenv)")
    found = {_name(p) for p in SOURCES if pattern.search(_code(p))}
    assert found <= ENVIRONMENT.keys()


def test_nothing_of_a_developers_machine_is_in_the_tree():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()  # fmt: skip
    if not listed:
        pytest.skip("no git checkout")
    pattern = re.compile(r"/(home|Users|root|work)/\w+/")
    endings = (".py", ".md", ".yaml", ".toml", ".json", ".cpp", ".h", "Makefile", "run")
    texts = [name for name in listed if name.endswith(endings)]
    assert [n for n in texts if pattern.search((ROOT / n).read_text(encoding="utf-8"))] == []


def test_the_verbs_are_frozen():
    assert set(VERBS) == {
        "plan", "preprocess", "train", "predict", "evaluate", "show", "doctor", "demo", "import",
        "export",
    }  # fmt: skip


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_is_there_at_once_and_loads_no_torch(words):
    code = (
        "import sys; from medssm.cli.main import main; rc = main(sys.argv[1:]);"
        "heavy = {'torch', 'monai', 'lightning', 'nnunetv2', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(rc)"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage:")
    assert min(seconds) < 0.5
