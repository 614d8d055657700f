"""Schedules of programs that log all their settings: the Trainer of transformers, and Ultralytics."""

import math
from collections.abc import Mapping
from typing import Final

from features.rate_formulas import Kind
from features.rate_rules import EMPTY, Declared, Length, RateRule, UntoldError

_TRAINER_KINDS: Final[Mapping[str, Kind]] = {
    "linear": "hf_linear",
    "cosine": "hf_cosine",
    "cosine_with_restarts": "hf_cosine_with_restarts",
    "polynomial": "hf_polynomial",
    "constant": "constant",
    "constant_with_warmup": "hf_constant_with_warmup",
    "inverse_sqrt": "hf_inverse_sqrt",
}
_WITHOUT_LENGTH: Final = ("constant", "constant_with_warmup", "inverse_sqrt")
_TRAINER_NUMBERS: Final[Mapping[str, frozenset[str]]] = {
    "cosine": frozenset({"num_cycles"}),
    "cosine_with_restarts": frozenset({"num_cycles"}),
    "polynomial": frozenset({"power", "lr_end"}),
}
_NUMBERS_KEY: Final = "lr_scheduler_kwargs"

# Names that no other program has; two of them are no accident.
_TRAINER_SIGNS: Final = frozenset({
    "dataloader_prefetch_factor", "torch_empty_cache_steps", "save_strategy", "eval_strategy", "evaluation_strategy",
    "logging_strategy", "hub_strategy", "optim_target_modules", "restore_callback_states_from_checkpoint",
    "num_train_epochs", "per_device_train_batch_size", "lr_scheduler_kwargs", "warmup_ratio",
})  # fmt: skip
_LEAST_TRAINER_SIGNS: Final = 2

# Ultralytics warms up over at least so many batches, and an epoch has at least one. Small data sets have few: in public
# stores a warm-up of "3 epochs" took 20, 25 and all 100 of them.
_LEAST_WARMUP: Final = 100


def is_trainer(declared: Declared) -> bool:
    """Whether the params are the TrainingArguments of transformers."""
    return "lr_scheduler_type" in declared.written and bool({"num_train_epochs", "max_steps"} & declared.written.keys())


def is_other_trainer(declared: Declared) -> bool:
    """Whether the params look like TrainingArguments of which the schedule was left out; the default is no constant."""
    return len(_TRAINER_SIGNS & declared.written.keys()) >= _LEAST_TRAINER_SIGNS


def is_ultralytics(declared: Declared) -> bool:
    """Whether the params are a configuration of Ultralytics."""
    return {"lr0", "lrf", "warmup_epochs", "epochs"} <= declared.written.keys()


def trainer_rule(declared: Declared, rate: float, length: Length) -> RateRule:
    """Return the schedule of TrainingArguments. The g-th step was made with the rate after g - 1 steps.

    The Trainer's number of steps is `max_steps`, or comes from `num_train_epochs` and the batches an epoch that the
    metric `epoch` tells.

    Raises
    ------
    UntoldError
        With the reason.
    """
    name = declared.written["lr_scheduler_type"].lower().rsplit(".", 1)[-1]
    if name not in _TRAINER_KINDS:
        raise UntoldError(f"lr_scheduler_type={name} is none that can be rebuilt")
    if declared.written.get("deepspeed", "").lower() not in EMPTY:
        raise UntoldError("deepspeed may bring a schedule of its own")
    numbers = _trainer_numbers(declared, name)
    total = _trainer_steps(declared, length)
    if total is None and name not in _WITHOUT_LENGTH:
        raise UntoldError("the number of steps is not declared, and no metric epoch tells it")
    return RateRule(
        kind=_TRAINER_KINDS[name],
        rate=rate,
        reason=f"lr_scheduler_type={name}" + (f" over {total} steps" if total else ""),
        offset=1.0,
        total=float(total or 1),
        warmup=_trainer_warmup(declared, total) if name != "constant" else 0.0,
        cycles=numbers.get("num_cycles", 0.5 if name == "cosine" else 1.0),
        power=numbers.get("power", 1.0),
        low=numbers.get("lr_end", 1e-7),
    )


def _trainer_numbers(declared: Declared, name: str) -> dict[str, float]:
    said = declared.written.get(_NUMBERS_KEY, "")
    inner = {
        key.rsplit("/", 1)[-1]: declared.needed(f"{_NUMBERS_KEY}_{key.rsplit('/', 1)[-1]}")
        for key in declared.written
        if f"{_NUMBERS_KEY}/" in key
    }
    if inner.keys() - _TRAINER_NUMBERS.get(name, frozenset()) or (said.lower() not in EMPTY and not inner):
        raise UntoldError(f"{_NUMBERS_KEY}={said} cannot be read")
    return inner


def _trainer_warmup(declared: Declared, total: int | None) -> float:
    """Return the warm-up in steps: `warmup_steps` (a share of all below 1), else `warmup_ratio` of all, rounded up."""
    steps = declared.number("warmup_steps") or 0.0
    if steps >= 1:
        return steps
    share = steps or declared.number("warmup_ratio") or 0.0
    if share and total is None:
        raise UntoldError("the warm-up is a share of a number of steps that is not declared")
    return float(math.ceil((total or 0) * share))


def _trainer_steps(declared: Declared, length: Length) -> int | None:
    limit = declared.number("max_steps")
    if limit is not None and limit > 0:
        total = int(limit)
    else:
        epochs, accumulated = declared.number("num_train_epochs"), declared.number("gradient_accumulation_steps")
        if epochs is None or accumulated is None or length.clock is None:
            return None
        batches = length.clock.batches(accumulated)
        if batches is None:
            return None
        # The last update of an epoch may have fewer batches: older versions of transformers leave it out of the count.
        fewest, total = (math.ceil(epochs * max(count(batches / accumulated), 1)) for count in (math.floor, math.ceil))
        if fewest < total and length.last <= fewest:
            raise UntoldError(f"the number of steps is {fewest} or {total}, by the version of transformers")
    if length.last > total:
        raise UntoldError(f"the run went to step {length.last}, beyond the {total} that its params give")
    return total


def ultralytics_rule(declared: Declared, length: Length) -> RateRule:
    """Return the schedule of Ultralytics. The rates of its warm-up hang on the number of batches, which it never logs.

    Since it warms up over at least 100 batches, only what lies beyond 100 epochs is surely past it.

    Raises
    ------
    UntoldError
        With the reason.
    """
    rate, low = declared.needed("lr0"), declared.needed("lrf")
    epochs, warmup = declared.needed("epochs"), declared.needed("warmup_epochs")
    if length.last >= epochs:
        raise UntoldError(f"the run went to epoch {length.last}, beyond the {epochs:g} that its params give")
    first = math.ceil(max(warmup, _LEAST_WARMUP)) if warmup > 0 else 0
    if first > length.last:
        raise UntoldError(
            f"Ultralytics warms up over at least {_LEAST_WARMUP} batches, and how many an epoch has is not declared"
        )
    cosine = declared.is_true("cos_lr")
    return RateRule(
        kind="ultralytics_cosine" if cosine else "ultralytics_linear",
        rate=rate,
        reason=f"lr0, lrf and cos_lr={cosine} of Ultralytics" + (f", from epoch {first} on" if first else ""),
        from_step=float(first),
        total=epochs,
        low=low,
    )
