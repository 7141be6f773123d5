"""What a user may say about the course of a training."""

import pytest

from medssm.core.errors import UsageError
from medssm.training.clock import Clock
from medssm.training.config import TrainerConfig, seconds_of
from medssm.training.optimizers import OptimizerConfig, build_optimizer, weight_decay_at
from medssm.training.schedules import ScheduleConfig, learning_rate_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00:28:00", 1680), ("28min", 1680), ("1h30m", 5400), ("90s", 90), ("2:30", 150)],
)
def test_durations_are_read_in_the_usual_spellings(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["soon", "28 bananas", "0s", "1h x"])
def test_what_is_no_duration_is_refused_with_examples(text):
    with pytest.raises(UsageError, match="max_time"):
        seconds_of(text)


@pytest.mark.parametrize("wrong", [{"max_epochs": 0}, {"ema_decay": 1.0}, {"accumulate": 0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TrainerConfig(**wrong)


def test_progress_follows_steps_without_a_limit_and_the_clock_with_one():
    free = Clock(planned_steps=100)
    assert free.progress(25, elapsed_s=1e6) == 0.25
    limited = Clock(planned_steps=100, max_time_s=100, reserve_s=20)
    assert limited.progress(25, elapsed_s=60) == pytest.approx(0.75)
    assert limited.progress(25, elapsed_s=90) == 1.0


def test_the_rate_warms_up_holds_and_falls_to_its_floor():
    config = ScheduleConfig(name="cosine", warmup_steps=10, hold=0.5, floor=0.1)
    assert learning_rate_share(config, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate_share(config, 50, 0.5) == 1.0
    assert learning_rate_share(config, 99, 1.0) == pytest.approx(0.1)


def test_norms_biases_and_rates_are_spared_from_weight_decay():
    from medssm.layers.mixers.mamba import Mamba

    groups = build_optimizer(OptimizerConfig(weight_decay=0.1), Mamba(8)).param_groups
    decayed = {id(p) for p in groups[0]["params"]}
    mixer = Mamba(8)
    groups = build_optimizer(OptimizerConfig(weight_decay=0.1), mixer).param_groups
    decayed = {id(p) for p in groups[0]["params"]}
    spared = [name for name, p in mixer.named_parameters() if id(p) not in decayed]
    assert {"A_log", "D"} <= set(spared)
    assert all(p.ndim < 2 or name == "A_log" for name, p in mixer.named_parameters()
               if name in spared)  # fmt: skip


def test_a_cosine_that_is_not_cut_off_rises_again():
    config = ScheduleConfig(name="cosine", cycles=1.5, floor=0.01)
    shares = [learning_rate_share(config, 0, epoch / 300) for epoch in (0, 100, 200, 300)]
    assert shares == pytest.approx([1.0, 0.01, 1.0, 0.01])
    with pytest.raises(UsageError, match=r"schedule\.cycles"):
        ScheduleConfig(cycles=0.0)


def test_the_weight_decay_climbs_along_half_a_cosine() -> None:
    config = OptimizerConfig(weight_decay=0.04, final_weight_decay=0.2)
    shares = [weight_decay_at(config, progress) for progress in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.04, 0.12, 0.2])
    assert weight_decay_at(OptimizerConfig(weight_decay=0.04), 0.7) == 0.04
