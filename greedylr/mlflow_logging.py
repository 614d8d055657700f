"""A training that leaves in MLflow what the next refresh learns from: rates, signal, decisions, the preset's name."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from greedylr.decisions import Decision, DecisionKind

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from greedylr.scheduler import GreedyLR, Listener

PRESET_TAG = "greedylr.preset"
"""On a run that was trained with a preset; its value is name/version/hash, or name/hash where no version is known."""

LEARNING_RATE = "learning_rate"
SIGNAL = "smoothed_train_loss"
DECISION = "greedylr.decision"
EXPLORED_FACTOR = "greedylr.explored_factor"
EXPLORED_PROBABILITY = "greedylr.explored_probability"
# A metric is a number. Only "explore" has metrics of its own beside it.
DECISION_NUMBERS: dict[DecisionKind, float] = {
    "cut": -2.0,
    "lower": -1.0,
    "hold": 0.0,
    "raise": 1.0,
    "reset": 2.0,
    "explore": 3.0,
    "probe": 4.0,
    "rollback": -3.0,
}


def log_to_mlflow(
    scheduler: GreedyLR, *, version: str = "", run_id: str | None = None, signal_key: str = SIGNAL
) -> None:
    """Log every decision of a scheduler to an MLflow run, and tag the run with the scheduler's preset.

    Metrics: `learning_rate` (the first group's; of the others `learning_rate_1` and so on), `signal_key` (the loss the
    rule saw), `greedylr.decision` (`DECISION_NUMBERS`), and where the rate is explored its factor and probability.
    One request a decision. What already listened to the scheduler's decisions goes on listening.

    Parameters
    ----------
    scheduler
        The scheduler; the tag needs one that `Preset.scheduler` made.
    version
        The preset's registered version, if it has one (`greedylr.locate_preset` knows).
    run_id
        The run; None is the active one.
    signal_key
        Name of the metric of the loss that is stepped on: "smoothed_val_loss" where that is the validation loss.

    Raises
    ------
    ValueError
        If there is no active run and none is given, or MLflow is not installed.
    """
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise ValueError("log_to_mlflow needs MLflow, got none; pip install mlflow-skinny") from error
    if run_id is None:
        active = mlflow.active_run()
        if active is None:
            raise ValueError("log_to_mlflow needs an active run, got none; call it within mlflow.start_run()")
        run_id = active.info.run_id
    client = mlflow.MlflowClient()
    if scheduler.preset is not None:
        names = [scheduler.preset.name, version, scheduler.preset.content_hash]
        client.set_tag(run_id, PRESET_TAG, "/".join(name for name in names if name))
    earlier = scheduler.on_decision
    log = _logger(run_id, signal_key)

    def tell(decision: Decision) -> None:
        log(decision)
        if earlier is not None:
            earlier(decision)

    # The rates of a sweep are no part of the run: the first that is logged then is the start that it found.
    if scheduler.controller.sweep is None:
        rates = tuple(scheduler.get_last_lr())
        client.log_batch(run_id, _metrics(scheduler.controller.steps_taken, _rate_values(rates)))
    scheduler.on_decision = tell


def _logger(run_id: str, signal_key: str) -> Listener:
    import mlflow

    client = mlflow.MlflowClient()

    def log(decision: Decision) -> None:
        values = _rate_values(decision.new_rates) | {DECISION: DECISION_NUMBERS[decision.kind]}
        if decision.loss is not None:
            values[signal_key] = decision.loss
        if decision.factor is not None and decision.probability is not None:
            values |= {EXPLORED_FACTOR: decision.factor, EXPLORED_PROBABILITY: decision.probability}
        client.log_batch(run_id, _metrics(decision.step, values))

    return log


def _rate_values(rates: tuple[float, ...]) -> dict[str, float]:
    return {LEARNING_RATE + (f"_{index}" if index else ""): rate for index, rate in enumerate(rates)}


def _metrics(step: int, values: dict[str, float]) -> list[Metric]:
    from mlflow.entities import Metric

    now = math.floor(time.time() * 1000)
    return [Metric(key, value, now, step) for key, value in values.items()]
