"""Contestants compute the same; no figure is taken over a red test or a wrong result."""

import sys

import pytest
import torch

import benchmarks.__main__ as program
from benchmarks import gpu, peers, routes, timing
from medssm.ops import selective_scan_fn


def _small(routes=1, length=30):
    return peers.make_inputs(2, routes, length, 6, 3)


@pytest.mark.parametrize("loop", [peers.unbind_loop, peers.indexed_loop])
def test_the_loops_are_the_scan(loop):
    from medssm.ops.scan import selective_scan

    u, delta, A, B, C, D, bias = _small().values()
    ours = selective_scan(u, delta, A, B, C, D, delta_bias=bias)
    theirs = loop(u, delta[:, 0], A[0], B[:, 0], C[:, 0], D[0], bias[0])
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("grid", [(30,), (5, 6), (2, 3, 5)])
def test_copies_are_routes(grid):
    from medssm.ops.scan import selective_scan

    axes = tuple(range(len(grid)))
    walks = tuple({axes, axes[::-1]})
    table = routes.table_of(grid, walks)
    u, delta, A, B, C, D, bias = _small(len(table)).values()
    ours = selective_scan(u, delta, A, B, C, D, delta_bias=bias, routes=table)
    theirs = peers.copied_routes(u, delta, A, B, C, D, bias, grid=grid, walks=walks, laid_out=False)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_wrong_result_is_not_timed():
    with pytest.raises(ArithmeticError, match="differ"):
        peers.agree(torch.ones(3), torch.tensor([1.0, 1.0, 1.1]))
    with pytest.raises(ArithmeticError, match="differ"):
        peers.agree(torch.ones(3), torch.full((3,), torch.nan))


def test_no_figure_over_a_red_test(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(program, "gate_is_green", lambda kind: False)
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmarks", "scan"])
    assert program.main() == 1
    assert "red" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_best_turn_counts_and_a_slow_contestant_gets_one():
    turns = {"fast": 0, "slow": 0}

    def call(name):
        turns[name] += 1
        if name == "slow":
            torch.arange(10).sum()
            import time

            time.sleep(0.05)

    times = timing.side_by_side(
        {name: (lambda name=name: call(name)) for name in turns}, seconds=0.02, most=7
    )
    assert turns == {"fast": 7, "slow": 1}
    assert times["slow"].wall_ms >= 50
    assert times["slow"].cpu_ms < 50


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_the_extra_memory_of_a_call_is_its_peak_and_not_an_older_one():
    older = torch.ones(50_000_000)  # 200 MB
    del older

    def call():
        torch.ones(20_000_000)  # 80 MB, freed at once

    assert timing.extra_megabytes(call) == pytest.approx(80, abs=15)


def test_the_gpu_program_runs_through_on_a_small_trial(monkeypatch):
    def kernel(*arguments, **options):
        return selective_scan_fn(*arguments, **options)

    monkeypatch.setattr(gpu, "_mamba_ssm", lambda: kernel)
    shapes = {"cube": gpu.Shape(2, 4, (2, 3, 4), ((0, 1, 2), (2, 0, 1)), states=2)}
    result = gpu.measure("cpu", shapes, repeats=1)
    assert len(result["rows"]) == 4
    assert {"ours", "mamba_ssm with copies", "chunked"} <= result["rows"][0]["ms"].keys()


def test_the_floors_are_those_of_the_design():
    limits = {"bytes_per_s": 3.0e12, "exponentials_per_s": 132 * 16 * 1.7e9}
    volume = next(iter(gpu.SHAPES.values()))
    # the specification's estimate for an H100, both directions: 0.16 ms of bytes in bfloat16,
    # and twice 0.22 ms of exponentials
    assert gpu.floors_ms(volume, "bfloat16", "forward", limits) == pytest.approx(
        {"bytes": 0.16, "exponentials": 0.45}, abs=0.005
    )
