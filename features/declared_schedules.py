"""What a run's params say of its whole schedule: a formula with all its numbers, or why none can be told.

A wrong rate is worse than none, so nothing is guessed: any sign of a schedule that the params do not tell whole makes
the rate unknown.
"""

import re
from typing import Final

from features.framework_schedules import is_other_trainer, is_trainer, is_ultralytics, trainer_rule, ultralytics_rule
from features.rate_rules import CONSTANT, EMPTY, Declared, Length, RateRule, UntoldError, as_number, letters
from features.torch_schedules import torch_rule

# A name with one of these says that the rate changes, or might.
_SIGN: Final = re.compile(
    r"sched|warm_?up|anneal|plateau|milestones|restarts?$|one_?cycle|fastai|opt_func|reduce_(?:lr|on)"
    r"|(?:^|_)(?:lr|learning_?rate)_(?:policy|steps?|decay|factor|gamma|drop|patience|mult|min|max|end|final|update)"
    r"|(?:^|_)(?:min|final|end|max|target|last|lowest|stop)_(?:lr|learning_?rate)"
    r"|(?:^|_)(?:eta_?min|pct_start|lrf|cos_lr|gamma|step_size|decay)$"
    r"|decay_(?:steps?|rate|epochs?|factor|type)|(?:optim|lr)_patience|patience_(?:optim|lr)"
)
_NO_SIGN: Final = re.compile(r"weight_decay|ema_decay|average_decay")
_RATE_NAME: Final = re.compile(r"(?:^|_)(?:lr|learning_?rate)(?:_?(?:init|initial|base|0))?$")
_SCHEDULER_NAME: Final = re.compile(
    r"(?:^|_)(?:sched|scheduler|schedule|policy)(?:_(?:name|type|class|class_name|target|func|fn|cls))?$"
)
# Optimizers that set the rate themselves: Ultralytics' choice, and those without a rate to choose.
_OWN_RATE: Final = re.compile(r"^auto$|prodigy|d_?adapt|schedule_?free")
_KERAS: Final = re.compile(r"keras|^opt_(?:name|learning_rate)|^initial_epoch$")
# Only as torch writes it: `t_max` is a time in many a simulation.
_TORCH_NAMES: Final = ("T_max", "T_0")
_MOST_SIGNS: Final = 3


def rate_rule(declared: Declared, rate: float | None, length: Length) -> RateRule:
    """Return the schedule that a run's params declare.

    Parameters
    ----------
    declared
        Its params.
    rate
        As `declared_settings` reads it.
    length
        Of the run.

    Raises
    ------
    UntoldError
        With the reason.
    """
    optimizer = own_rate(declared)
    if optimizer is not None:
        raise UntoldError(f"optimizer={optimizer} chooses the rate itself, whatever else is declared")
    if rate is None:
        raise UntoldError("no rate is declared")
    if is_trainer(declared):
        return trainer_rule(declared, rate, length)
    if is_other_trainer(declared):
        raise UntoldError("params of a Trainer of transformers without its lr_scheduler_type")
    if is_ultralytics(declared):
        return ultralytics_rule(declared, length)
    name = _scheduler(declared)
    if name is not None and name not in CONSTANT:
        _refuse_warmup(declared, name)
        return torch_rule(declared, name, rate, length, keras=any(map(_KERAS.search, declared.plain)))
    if signs := _signs(declared):
        raise UntoldError(f"{', '.join(signs[:_MOST_SIGNS])}: signs of a schedule that the params do not tell whole")
    if name is not None:
        return RateRule(kind="constant", rate=rate, reason="declared constant")
    return RateRule(kind="constant", rate=rate, assumed=True, reason="a rate is declared, and no sign of a schedule")


def own_rate(declared: Declared) -> str | None:
    """Return the name of an optimizer that takes no rate from its user; None where it is another."""
    for name, value in declared.plain.items():
        if re.search(r"(?:^|_)(?:optimizer|optim|opt)(?:_(?:name|type))?$", name) and _OWN_RATE.search(value.lower()):
            return value
    return None


def _scheduler(declared: Declared) -> str | None:
    """Return the scheduler's name in lower-case letters; None where none is configured.

    Raises
    ------
    UntoldError
        If params name several.
    """
    rates = (value for name, value in declared.plain.items() if _RATE_NAME.search(name))
    if any(letters(value) in CONSTANT - EMPTY for value in rates):
        return "constant"
    # `None` may be what was never filled in, a dict's settings have names of their own.
    found = {
        "constant" if letters(value) in CONSTANT else letters(value)
        for name, value in declared.plain.items()
        if _SCHEDULER_NAME.search(name)
        and value.lower() not in (EMPTY - CONSTANT) | {"true", "yes"}
        and not value.startswith("{")
        and as_number(value) is None
    }
    if len(found) > 1:
        raise UntoldError(f"several schedules are named: {', '.join(sorted(found))}")
    return next(iter(found), None)


def _signs(declared: Declared) -> list[str]:
    """Return the names of params that say the rate changes, or might; the schedulers' own names left out."""
    configured = {name: value for name, value in declared.plain.items() if value.lower() not in EMPTY}
    return [name for name in _TORCH_NAMES if name in declared.written] + sorted(
        name
        for name, value in configured.items()
        if (_SIGN.search(name) and not _NO_SIGN.search(name) and letters(value) not in CONSTANT)
        or (_RATE_NAME.search(name) and as_number(value) is None and letters(value) not in CONSTANT)
    )


def declared_warmup(declared: Declared) -> list[str]:
    """Return the names of params that declare a warm-up."""
    return [sign for sign in _signs(declared) if re.search(r"warm_?up", sign)]


def _refuse_warmup(declared: Declared, name: str) -> None:
    if warmup := declared_warmup(declared):
        raise UntoldError(f"{', '.join(warmup[:_MOST_SIGNS])}: how the warm-up goes with {name} is not declared")
