"""Runs as people log them, with the rate of a real scheduler beside: what is rebuilt must be what ran."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import pytest
import torch
from torch.optim import lr_scheduler

from features.declared_settings import PARAM_COLUMNS
from features.learning_rates import EXPERIMENT_COLUMNS, RATE_COLUMNS, learning_rates, with_siblings
from features.series_roles import SERIES_COLUMNS, series_roles
from features.told_schedules import CLOCK_COLUMNS
from features.trajectories import POINT_COLUMNS, TRAJECTORY_COLUMNS, trajectories
from tests.features.curves import rate_series, series_of

EPOCHS = 40
TRAINER = {"learning_rate": "0.1", "num_train_epochs": "3", "max_steps": "-1", "gradient_accumulation_steps": "1"}
ULTRALYTICS = {"lr0": "0.1", "lrf": "0.01", "cos_lr": "False", "epochs": "40", "optimizer": "SGD"}
Rates = Sequence[float | None]


def curve(steps: Sequence[int], rates: Rates = (), validation: Sequence[float] = (), run_id: str = "a") -> pl.DataFrame:
    """A trajectory with a falling training loss."""
    length = len(steps)
    return pl.DataFrame(
        {
            "run_id": [run_id] * length,
            "position": range(length),
            "step": steps,
            "progress": [None] * length,
            "training_loss": [2.0 - position / length for position in range(length)],
            "validation_loss": [*validation, *[None] * (length - len(validation))],
            "learning_rate": [*rates, *[None] * (length - len(rates))],
        },
        schema=TRAJECTORY_COLUMNS,
    )


def found(
    params: Mapping[str, str],
    trajectory: pl.DataFrame,
    *,
    status: str = "FINISHED",
    epochs: Sequence[tuple[int, float]] = (),
) -> tuple[dict[str, Any], list[float | None]]:
    """The mark of the run "a", and its rates."""
    runs = pl.DataFrame(
        [(run_id, "store", "1", status) for run_id in trajectory["run_id"].unique().sort()],
        schema=[*EXPERIMENT_COLUMNS, "status"],
        orient="row",
    )
    runs = with_siblings(runs, rate_series(trajectory))
    rows = pl.DataFrame([("a", *item) for item in params.items()], schema=PARAM_COLUMNS, orient="row")
    clock = pl.DataFrame([("a", *point) for point in epochs], schema=CLOCK_COLUMNS, orient="row")
    filled, marks = learning_rates(runs, rows, trajectory, clock)
    assert dict(marks.schema) == RATE_COLUMNS
    assert dict(filled.schema) == TRAJECTORY_COLUMNS
    return marks.row(0, named=True), filled.filter(pl.col("run_id") == "a")["learning_rate"].to_list()


def scheduled(build: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    """The rates with which a real optimizer trains."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, rates = build(optimizer), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("params", "build", "schedule"),
    [
        (
            {"scheduler": "StepLR", "step_size": "7", "gamma": "0.3"},
            lambda optimizer: lr_scheduler.StepLR(optimizer, 7, 0.3),
            "step",
        ),
        (
            {"scheduler": "<torch.optim.lr_scheduler.StepLR object at 0x7f>", "scheduler_step_size": "7"},
            lambda optimizer: lr_scheduler.StepLR(optimizer, 7),
            "step",
        ),
        (
            {"lr_scheduler": "{'name': 'MultiStepLR', 'milestones': [10, 30], 'gamma': 0.5}"},
            lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [10, 30], 0.5),
            "step",
        ),
        (
            {"model/scheduler/_target_": "torch.optim.lr_scheduler.ExponentialLR", "model/scheduler/gamma": "0.9\n"},
            lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
            "exponential",
        ),
        (
            {"scheduler": "CosineAnnealingLR", "T_max": "40", "eta_min": "0.001"},
            lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 40, 0.001),
            "cosine",
        ),
        (
            {"scheduler": "CosineAnnealingWarmRestarts", "T_0": "10", "T_mult": "2"},
            lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10, 2),
            "cosine",
        ),
        (
            {"scheduler": "LinearLR", "start_factor": "1.0", "end_factor": "0.1", "total_iters": "40"},
            lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 40),
            "linear",
        ),
        (
            {"scheduler": "PolynomialLR", "power": "2", "total_iters": "40"},
            lambda optimizer: lr_scheduler.PolynomialLR(optimizer, 40, 2),
            "polynomial",
        ),
        (
            {"scheduler": "OneCycleLR", "max_lr": "0.1", "total_steps": "40"},
            lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=40),
            "one-cycle",
        ),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_a_scheduler_of_torch_by_epoch_is_rebuilt(
    params: dict[str, str], build: Callable[..., Any], schedule: str, first: int
) -> None:
    steps = EPOCHS - 1  # the last step of a one-cycle is not to be taken twice
    mark, rates = found({"lr": "0.1", "epochs": "40", **params}, curve(range(first, first + steps)))
    assert (mark["rate_source"], mark["schedule"], mark["starting_rate"]) == ("rebuilt", schedule, 0.1)
    assert rates == pytest.approx(scheduled(build, steps), rel=1e-9)


@pytest.mark.parametrize("name", ["linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt"])
@pytest.mark.parametrize(
    ("warmup", "steps"), [({"warmup_steps": "30"}, 30), ({"warmup_ratio": "0.1"}, 60), ({"warmup_steps": "0.05"}, 30)]
)
def test_a_trainer_run_is_rebuilt_from_its_epochs_and_its_clock(name: str, warmup: dict[str, str], steps: int) -> None:
    transformers = pytest.importorskip("transformers")
    # 398 batches, two an update: 199 updates an epoch; logged every ten.
    logged = range(10, 598, 10)
    params = TRAINER | warmup | {"lr_scheduler_type": name, "gradient_accumulation_steps": "2"}
    clock = [(step, step * 2 / 398) for step in range(10, 200, 10)]
    mark, rates = found(params, curve(logged), epochs=clock)
    every = scheduled(lambda optimizer: transformers.get_scheduler(name, optimizer, steps, 597), 597)
    assert mark["rate_source"] == "rebuilt"
    assert rates == pytest.approx([every[step - 1] for step in logged], rel=1e-9, abs=1e-12)


def test_a_trainer_run_is_rebuilt_from_its_declared_steps_and_other_numbers() -> None:
    transformers = pytest.importorskip("transformers")
    params = TRAINER | {
        "lr_scheduler_type": "SchedulerType.COSINE",
        "max_steps": "100",
        "lr_scheduler_kwargs": "{'num_cycles': 1.5}",
    }
    _, rates = found(params, curve(range(1, 101)))

    def build(optimizer: torch.optim.Optimizer) -> Any:
        return transformers.get_scheduler("cosine", optimizer, 0, 100, scheduler_specific_kwargs={"num_cycles": 1.5})

    assert rates == pytest.approx(scheduled(build, 100), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"lr_scheduler_type": "linear"}, "the number of steps is not declared, and no metric epoch tells it"),
        ({"lr_scheduler_type": "linear", "max_steps": "20"}, "the run went to step 30, beyond the 20"),
        ({"lr_scheduler_type": "cosine_with_min_lr", "max_steps": "30"}, "none that can be rebuilt"),
        ({"lr_scheduler_type": "linear", "max_steps": "30", "lr_scheduler_kwargs": "{'x': 1"}, "cannot be read"),
        ({"lr_scheduler_type": "linear", "max_steps": "30", "deepspeed": "zero3.json"}, "deepspeed may bring"),
        ({"save_strategy": "epoch", "hub_strategy": "end"}, "without its lr_scheduler_type"),
    ],
)
def test_a_trainer_run_that_does_not_tell_its_schedule_is_unknown(params: dict[str, str], reason: str) -> None:
    mark, rates = found(TRAINER | params, curve(range(1, 31)))
    assert mark["rate_source"] == "unknown"
    assert reason in mark["rate_reason"]
    assert set(rates) == {None}


def test_an_update_of_fewer_batches_counts_only_where_the_run_went_so_far() -> None:
    params = TRAINER | {"lr_scheduler_type": "linear", "gradient_accumulation_steps": "2"}
    clock = [(step, min(step * 2 / 397, 1.0)) for step in range(10, 200, 10)]
    mark, _ = found(params, curve(range(10, 591, 10)), epochs=clock)
    assert mark["rate_reason"] == "the number of steps is 594 or 597, by the version of transformers"
    mark, _ = found(params, curve(range(1, 598, 2)), epochs=clock)
    assert mark["rate_reason"] == "lr_scheduler_type=linear over 597 steps"


def test_epochs_rounded_to_two_digits_tell_the_batches_only_where_one_number_fits() -> None:
    params = TRAINER | {"lr_scheduler_type": "linear"}
    rounded = [(step, round(step / 397, 2)) for step in range(10, 390, 10)]
    assert found(params, curve(range(10, 1190, 10)), epochs=rounded)[0]["rate_source"] == "unknown"
    assert found(params, curve(range(10, 1190, 10)), epochs=[*rounded, (397, 1.0)])[0]["rate_source"] == "rebuilt"


def test_ultralytics_without_warm_up_is_rebuilt() -> None:
    mark, rates = found(ULTRALYTICS | {"warmup_epochs": "0.0"}, curve(range(30)))
    assert (mark["rate_source"], mark["schedule"]) == ("rebuilt", "linear")
    assert rates == pytest.approx([0.1 * (1 - epoch / 40 * 0.99) for epoch in range(30)], rel=1e-9)


def test_ultralytics_may_still_warm_up_for_a_hundred_epochs() -> None:
    long = ULTRALYTICS | {"epochs": "300", "warmup_epochs": "3.0"}
    assert found(long, curve(range(90)), status="FAILED")[0]["rate_source"] == "unknown"
    mark, rates = found(long, curve(range(200)), status="FAILED")
    assert mark["rate_reason"] == "lr0, lrf and cos_lr=False of Ultralytics, from epoch 100 on"
    assert rates[:100] == [None] * 100
    assert rates[100:] == pytest.approx([0.1 * (1 - epoch / 300 * 0.99) for epoch in range(100, 200)], rel=1e-9)


def test_an_optimizer_that_chooses_the_rate_itself_leaves_no_rate_to_trust() -> None:
    mark, rates = found(ULTRALYTICS | {"warmup_epochs": "0", "optimizer": "auto"}, curve(range(30)))
    assert (mark["rate_source"], mark["starting_rate"]) == ("unknown", None)
    assert mark["rate_reason"] == "optimizer=auto chooses the rate itself, whatever else is declared"
    assert set(rates) == {None}


PLATEAU = {
    "lr": "0.1",
    "epochs": "12",
    "lr_scheduler": "ReduceLROnPlateau",
    "scheduler_factor": "0.5",
    "scheduler_patience": "1",
    "patience": "9",
}
STALLED = [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]


def test_a_plateau_is_replayed_on_the_validation_loss() -> None:
    mark, rates = found(PLATEAU, curve(range(10), validation=STALLED))
    assert (mark["rate_source"], mark["schedule"]) == ("rebuilt", "plateau")
    assert rates == pytest.approx([0.1] * 4 + [0.05] * 2 + [0.025] * 2 + [0.0125] * 2)


@pytest.mark.parametrize(
    ("changed", "validation", "reason"),
    [
        ({}, STALLED[:5], "a plateau is replayed only where every epoch has one validation loss"),
        ({"monitor": "val_f1"}, STALLED, "the plateau watches val_f1"),
        ({"scheduler_patience": "None"}, STALLED, "scheduler_patience is not declared"),
        ({"scheduler_factor": "0"}, STALLED, "factor=0 lowers nothing"),
    ],
)
def test_a_plateau_that_cannot_be_replayed_is_unknown(
    changed: dict[str, str], validation: list[float], reason: str
) -> None:
    mark, _ = found(PLATEAU | changed, curve(range(10), validation=validation))
    assert (mark["rate_source"], mark["rate_reason"]) == ("unknown", reason)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"scheduler": "CosineAnnealingLR", "T_max": "400"}, "counts to 400, the run's declared length is 40 epochs"),
        ({"scheduler": "StepLR", "step_size": "500"}, "it may count batches"),
        ({"scheduler": "ExponentialLR", "gamma": "0.9999"}, "it may count batches"),
        ({"scheduler": "StepLR"}, "step_size is not declared"),
        ({"scheduler": "cosine"}, "t_max is not declared"),
        ({"scheduler": "LambdaLR"}, "lambdalr is none that can be rebuilt"),
        ({"scheduler": "StepLR", "step_size": "5", "warmup_epochs": "3"}, "how the warm-up goes with steplr"),
        ({"scheduler": "StepLR", "use_scheduler": "False"}, "several schedules are named: constant, steplr"),
        ({"decay_step": "100", "gamma": "0.1"}, "decay_step, gamma: signs of a schedule"),
        ({"patience_optim": "5"}, "patience_optim: signs of a schedule"),
        ({"warmup_steps": "100"}, "warmup_steps: signs of a schedule"),
        ({"min_lr": "1e-6"}, "min_lr: signs of a schedule"),
        ({"opt_func": "Adam"}, "opt_func: signs of a schedule"),
        ({"learning_rate": "<LRScheduler object at 0x7f>"}, "learning_rate: signs of a schedule"),
        ({"optimizer": "Prodigy"}, "optimizer=Prodigy chooses the rate itself"),
    ],
)
def test_a_schedule_that_is_not_told_whole_is_unknown(params: dict[str, str], reason: str) -> None:
    mark, rates = found({"lr": "0.1", "epochs": "40"} | params, curve(range(40)))
    assert mark["rate_source"] == "unknown"
    assert reason in mark["rate_reason"]
    assert set(rates) == {None}


def test_a_schedule_by_epoch_is_unknown_where_steps_are_batches() -> None:
    params = {"lr": "0.1", "epochs": "40", "scheduler": "StepLR", "step_size": "7"}
    assert found(params, curve(range(0, 4000, 10)))[0]["rate_reason"] == "steplr: the steps are not known to be epochs"
    # A part of a run that was resumed says nothing of what came before.
    assert found(params, curve(range(20, 40)))[0]["rate_reason"] == "steplr: the run starts at epoch 20"


@pytest.mark.parametrize(
    "params",
    [
        {"lr_scheduler": "constant"},
        {"scheduler": "off"},
        {"learning_rate": "constant", "learning_rate_init": "0.1", "lr": ""},
    ],
)
def test_a_rate_that_is_declared_constant_is_rebuilt(params: dict[str, str]) -> None:
    mark, rates = found({"lr": "0.1"} | params, curve(range(12)))
    assert (mark["rate_source"], mark["rate_reason"]) == ("rebuilt", "declared constant")
    assert (mark["schedule"], rates) == ("constant", [0.1] * 12)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"scheduler": "None", "warmup_steps": "0", "lr_decay": "False", "weight_decay": "0.1"},
        {"optimizer": "{'name': 'Adam', 'lr': 0.1}", "lr": "None\n"},
    ],
)
def test_a_rate_without_a_sign_of_a_schedule_is_assumed_constant_and_names_none(params: dict[str, str]) -> None:
    mark, rates = found({"lr": "0.1\n"} | params, curve(range(12)))
    assert (mark["rate_source"], mark["starting_rate"], mark["schedule"]) == ("assumed constant", 0.1, None)
    assert rates == [0.1] * 12


def test_a_rate_is_not_assumed_constant_where_it_moves_in_another_run_of_the_experiment() -> None:
    moving = curve(range(20), [0.1 * (1 - step / 20) for step in range(20)], run_id="b")
    mark, rates = found({"lr": "0.1"}, pl.concat([curve(range(12)), moving]))
    assert (mark["rate_source"], mark["starting_rate"], set(rates)) == ("unknown", 0.1, {None})
    assert mark["rate_reason"] == (
        "no schedule is declared, but in a run of this experiment that logs it the rate moves"
    )


def test_what_was_logged_stands_before_every_param() -> None:
    logged = [0.02 * (1 - step / 20) for step in range(20)]
    mark, rates = found({"lr": "0.1", "scheduler": "constant"}, curve(range(20), logged))
    assert (mark["rate_source"], mark["starting_rate"], mark["schedule"]) == ("logged", 0.02, "linear")
    assert mark["rate_reason"] == (
        "20 points logged; a param says 0.1, the log 0.02: the log stands"
        "; a param says constant, the log linear: the log stands"
    )
    assert rates == logged


@pytest.mark.parametrize(("params", "start"), [({"lr": "0.1", "scheduler": "cosine"}, 0.1), ({}, None)])
def test_a_resumed_run_started_at_its_declared_rate_not_at_the_first_that_it_logged(
    params: dict[str, str], start: float | None
) -> None:
    logged = [0.05 * (1 + math.cos(math.pi * step / 90)) for step in range(46, 90)]
    mark, rates = found({**params, "epochs": "90"}, curve(range(46, 90), logged))
    assert (mark["rate_source"], mark["starting_rate"], mark["schedule"]) == ("logged", start, "cosine")
    assert mark["rate_reason"] == "44 points logged, from step 46 on, after the start"
    assert rates == logged


def test_a_declared_warm_up_that_never_ended_starts_at_the_highest_rate_reached() -> None:
    logged = [0.001 * (1 + step) for step in range(20)]
    mark, _ = found(ULTRALYTICS | {"optimizer": "auto", "warmup_epochs": "3"}, curve(range(20), logged))
    assert (mark["rate_source"], mark["starting_rate"]) == ("logged", 0.02)


def test_a_rate_logged_once_is_a_declaration() -> None:
    mark, rates = found({}, curve(range(12), [0.1]))
    assert (mark["rate_source"], mark["starting_rate"], rates) == ("assumed constant", 0.1, [0.1] * 12)
    assert mark["rate_reason"] == "a rate was logged once, and there is no sign of a schedule"


def test_a_rate_logged_once_that_contradicts_the_params_leaves_it_unknown() -> None:
    mark, rates = found({"lr": "0.1"}, curve(range(12), [0.02]))
    assert (mark["rate_source"], mark["starting_rate"], rates) == ("unknown", None, [0.02] + [None] * 11)
    assert mark["rate_reason"].startswith("0.02 was logged once, which ")


def test_without_a_rate_nothing_is_known() -> None:
    mark, _ = found({}, curve(range(12)))
    assert mark == {
        "run_id": "a",
        "rate_source": "unknown",
        "rate_reason": "no rate is declared",
        "starting_rate": None,
        "schedule": None,
    }


def test_the_rate_that_lightning_monitors_is_the_logged_one() -> None:
    values = scheduled(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 20), 20)
    points = pl.DataFrame(
        [("a", key, step, step, value) for key, rows in (("lr-AdamW", values), ("train_loss", range(20, 0, -1)))
         for step, value in enumerate(map(float, rows))],
        schema=POINT_COLUMNS,
        orient="row",
    )  # fmt: skip
    series = series_of(points)
    assert dict(series.schema) == SERIES_COLUMNS
    curves = trajectories(points, series_roles(series))
    params = {"lr": "0.1", "scheduler": "CosineAnnealingLR", "T_max": "20", "epochs": "20"}
    mark, rates = found(params, curves)
    assert (mark["rate_source"], rates) == ("logged", values)
    _, rebuilt = found(params, curves.with_columns(learning_rate=pl.lit(None, pl.Float64)))
    assert rebuilt == pytest.approx(values, rel=1e-9)


def test_a_loss_that_is_not_finite_is_a_bad_epoch_of_the_plateau() -> None:
    _, rates = found(PLATEAU, curve(range(10), validation=[1.0, *[math.nan] * 9]))
    assert rates[2:4] == [0.1, 0.05]
