"""The command line: a slip gets the nearest match, every end has its exit code."""

import json
import os
import signal
import threading

import pytest

from medssm.cli.main import main
from medssm.data.phantom import PhantomShape, make_phantom_dataset


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "Dataset001_Phantom"
    make_phantom_dataset(folder, cases=3, held_back=0, shape=PhantomShape(size=(8, 12, 12)))
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "4"], "did you mean 'train'"),
        (["train", "4", "--skipbad"], "did you mean '--skip-bad'"),
        (["train"], "DATASET"),
        (["predict", "model", "-i", "x"], "needs -o or --output"),
        (["predict", "model", "-o", "x"], "needs -i or --input"),
        (["predict", "model", "-o", "x", "cases=a"], "needs -i or --input"),
        (["import", "foldr", "x"], "did you mean 'folder'"),
        (["show", "netwroks"], "did you mean 'networks'"),
        ([], "usage"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(words, message, capsys):
    code = main(words)
    spoken = capsys.readouterr()
    assert code == (0 if not words else 2)
    assert message in spoken.err + spoken.out


def test_a_mistyped_key_is_answered_before_any_work(raw, tmp_path, capsys):
    words = ["train", str(raw), "trainer.max_epoch=3", "--home", str(tmp_path)]
    assert main(words) == 2
    assert "did you mean 'max_epochs'" in capsys.readouterr().err
    assert not (tmp_path / "preprocessed").exists()


def test_an_unknown_data_set_lists_those_there_are(tmp_path, capsys):
    assert main(["plan", "nothing", "--home", str(tmp_path)]) == 2
    assert "no data set 'nothing'" in capsys.readouterr().err


def test_a_damaged_data_set_ends_with_three_and_json_says_so(raw, tmp_path, capsys):
    image = raw / "imagesTr" / "phantom_000_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    assert main(["plan", str(raw), "--home", str(tmp_path), "--json"]) == 3
    spoken = capsys.readouterr()
    answer = json.loads(spoken.out)
    assert (answer["ok"], answer["exit_code"]) == (False, 3)
    assert "phantom_000" in answer["error"]
    assert "copy it again" in spoken.err


def test_import_ends_with_the_next_command(raw, tmp_path, capsys):
    code = main(["import", "nnunet", str(raw), "--home", str(tmp_path / "home")])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert code == 0
    assert last.startswith("wrote ")
    assert "next: medssm train Dataset001_Phantom" in last


def test_doctor_tests_the_machine_and_answers_in_json(tmp_path, capsys):
    assert main(["doctor", "--json", "--home", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert all(check["problem"] == "" for check in answer["self_test"])
    assert {row["operator"] for row in answer["backends"]} >= {"selective_scan", "causal_conv1d"}


@pytest.mark.parametrize("table", ["networks", "mixers", "losses", "metrics", "budgets"])
def test_show_lists_every_table(table, capsys):
    assert main(["show", table, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_verb(shell, capsys):
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in ("plan", "predict", "evaluate", "import"))


def test_the_next_command_keeps_leaving_out_the_bad_cases(raw, tmp_path, capsys):
    image = raw / "imagesTr" / "phantom_000_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    words = ["plan", str(raw), "--skip-bad", "--home", str(tmp_path), "budget=cpu"]
    assert main([*words, "--json"]) == 0
    following = json.loads(capsys.readouterr().out)["next"].split()
    assert following[:2] == ["medssm", "preprocess"]
    assert "--skip-bad" in following
    assert main(following[1:]) == 0


def test_a_bug_ends_with_seventy_and_a_file_with_the_traceback(monkeypatch, tmp_path, capsys):
    def broken(arguments):
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr("medssm.cli.show.run_show", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["show"]) == 70
    said = capsys.readouterr().err
    assert "what nobody thought of" in said
    assert "Traceback" not in said
    (file,) = tmp_path.glob("medssm-traceback-*.txt")
    assert "RuntimeError" in file.read_text()


def test_a_full_disk_ends_with_four_and_the_remedy(monkeypatch, capsys):
    def full(arguments):
        raise OSError(28, "No space left on device", "some/file")

    monkeypatch.setattr("medssm.cli.show.run_show", full)
    assert main(["show"]) == 4
    assert "Make room" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["LOCAL_RANK", "RANK", "SLURM_PROCID"])
def test_another_process_than_the_first_keeps_off_stdout(variable, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(variable, "1")
    assert main(["train", "/nowhere", "--home", str(tmp_path), "--json"]) == 2
    spoken = capsys.readouterr()
    assert spoken.out == ""
    assert "/nowhere" in spoken.err


def test_a_polite_kill_interrupts_the_verb_and_ends_its_forked_workers(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    ended = []

    def run(_arguments):
        child = os.fork()
        if child == 0:
            # a handler in Python would wait for this lock as long as the worker does
            lock = threading.Lock()
            lock.acquire()
            lock.acquire(timeout=20)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        ended.append(os.waitpid(child, 0)[1])
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not interrupted")

    monkeypatch.setattr("medssm.cli.doctor.run_doctor", run)
    assert main(["doctor"]) == 5
    assert os.WTERMSIG(ended[0]) == signal.SIGTERM
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_import_takes_words_right_behind_its_source(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("case_id,slide_id,label\np,a,x\n")
    words = ["import", "features", str(tmp_path), f"labels={tmp_path / 't.csv'}"]
    assert main([*words, "--home", str(tmp_path / "home"), "--name", "Dataset005_Bags"]) == 0
    assert (tmp_path / "home" / "raw" / "Dataset005_Bags" / "dataset.json").is_file()
    assert main(["import", "features", str(tmp_path), "stray"]) == 2
    assert "unexpected word 'stray'" in capsys.readouterr().err
