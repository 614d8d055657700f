"""The learning rate of known schedules as Polars expressions over columns: one function a kind, named after it.

`t` counts the updates (or epochs) made before the one that the rate is for, from 0. The columns that a kind reads are
those of `RateRule`; a rate is absolute, in the unit of `rate`. Each is tested against the program it is named after.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, Literal

import polars as pl

Kind = Literal[
    "constant",
    "hf_linear",
    "hf_cosine",
    "hf_cosine_with_restarts",
    "hf_polynomial",
    "hf_constant_with_warmup",
    "hf_inverse_sqrt",
    "ultralytics_linear",
    "ultralytics_cosine",
    "torch_step",
    "torch_multi_step",
    "torch_exponential",
    "torch_cosine",
    "torch_warm_restarts",
    "torch_one_cycle",
    "torch_linear",
    "torch_polynomial",
    "torch_plateau",
    "keras_plateau",
]

_t: Final = pl.col("t")
_rate: Final = pl.col("rate")
_total: Final = pl.col("total")
_warmup: Final = pl.col("warmup")
_low: Final = pl.col("low")


def constant() -> pl.Expr:
    """Keep the rate."""
    return _rate + 0 * _t


def hf_linear() -> pl.Expr:
    """Warm-up, then rate * (total - t) / (total - warmup); transformers.get_linear_schedule_with_warmup."""
    return _warmed_up(((_total - _t) / _at_least_one(_total - _warmup)).clip(lower_bound=0))


def hf_cosine() -> pl.Expr:
    """Warm-up, then rate * (1 + cos(2 pi cycles x)) / 2; transformers.get_cosine_schedule_with_warmup."""
    return _warmed_up((((2 * math.pi) * pl.col("cycles") * _share_after_warmup()).cos() + 1) / 2)


def hf_cosine_with_restarts() -> pl.Expr:
    """Warm-up, then rate * (1 + cos(pi (cycles x mod 1))) / 2, 0 at the end."""
    x = _share_after_warmup()
    wave = ((math.pi * ((pl.col("cycles") * x) % 1)).cos() + 1) / 2
    return _warmed_up(pl.when(x >= 1).then(0.0).otherwise(wave))


def hf_polynomial() -> pl.Expr:
    """Warm-up, then (rate - low) * (1 - x) ** power + low."""
    x = _share_after_warmup().clip(upper_bound=1)
    decayed = (_rate - _low) * (1 - x) ** pl.col("power") + _low
    return pl.when(_t < _warmup).then(_rate * _t / _warmup).otherwise(decayed)


def hf_constant_with_warmup() -> pl.Expr:
    """Warm-up, then rate."""
    return _warmed_up(pl.lit(1.0))


def hf_inverse_sqrt() -> pl.Expr:
    """Warm-up, then rate / sqrt((t + timescale - warmup) / timescale); the timescale is the warm-up, 10,000 without."""
    timescale = pl.when(_warmup > 0).then(_warmup).otherwise(10_000.0)
    return _warmed_up(1 / ((_t + timescale - _warmup) / timescale).sqrt())


def ultralytics_linear() -> pl.Expr:
    """Give rate * ((1 - t / total) * (1 - low) + low), low being `lrf`, a share of the rate."""
    return _rate * ((1 - _t / _total).clip(lower_bound=0) * (1 - _low) + _low)


def ultralytics_cosine() -> pl.Expr:
    """Give rate * ((1 - cos(pi t / total)) / 2 * (low - 1) + 1)."""
    return _rate * ((1 - (math.pi * _t / _total).cos()) / 2 * (_low - 1) + 1)


def torch_step() -> pl.Expr:
    """Give rate * gamma ** floor(t / step_size)."""
    return _rate * pl.col("gamma") ** (_t / pl.col("step_size")).floor()


def torch_multi_step() -> pl.Expr:
    """Give rate * gamma ** (number of milestones <= t)."""
    passed = (pl.col("milestones") - _t).list.eval(pl.element() <= 0).list.sum()
    return _rate * pl.col("gamma") ** passed.cast(pl.Float64)


def torch_exponential() -> pl.Expr:
    """Give rate * gamma ** t."""
    return _rate * pl.col("gamma") ** _t


def torch_cosine() -> pl.Expr:
    """Give low + (rate - low) * (1 + cos(pi t / total)) / 2; CosineAnnealingLR with T_max = total, eta_min = low."""
    return _low + (_rate - _low) * ((math.pi * _t / _total).cos() + 1) / 2


def torch_warm_restarts() -> pl.Expr:
    """Repeat that over cycles of T_0 = total updates, each `multiple` times as long as the one before."""
    multiple = pl.col("multiple")
    # A small allowance: the logarithm of a whole power must not fall below it.
    cycle = ((_t / _total * (multiple - 1) + 1).log() / multiple.log() + 1e-9).floor()
    longer = _total * multiple**cycle
    begun = _total * (multiple**cycle - 1) / (multiple - 1)
    into = pl.when(multiple == 1).then(_t % _total).otherwise(_t - begun)
    length = pl.when(multiple == 1).then(_total).otherwise(longer)
    return _low + (_rate - _low) * ((math.pi * into / length).cos() + 1) / 2


def torch_one_cycle() -> pl.Expr:
    """From rate / div up to rate in the first pct_start of total, then down to rate / div / final_div."""
    top = pl.col("pct_start") * _total - 1
    start, end = _rate / pl.col("div"), _rate / pl.col("div") / pl.col("final_div")
    up, down = _t / top, (_t - top) / (_total - 1 - top)
    return pl.when(_t <= top).then(_annealed(start, _rate, up)).otherwise(_annealed(_rate, end, down))


def torch_linear() -> pl.Expr:
    """Give rate * (start_factor + (end_factor - start_factor) * min(t, total) / total)."""
    start, end = pl.col("start_factor"), pl.col("end_factor")
    return _rate * (start + (end - start) * pl.min_horizontal(_t, _total) / _total)


def torch_polynomial() -> pl.Expr:
    """Give rate * (1 - min(t, total) / total) ** power."""
    return _rate * (1 - pl.min_horizontal(_t, _total) / _total) ** pl.col("power")


FORMULAS: Final[Mapping[str, Callable[[], pl.Expr]]] = {
    "constant": constant,
    "hf_linear": hf_linear,
    "hf_cosine": hf_cosine,
    "hf_cosine_with_restarts": hf_cosine_with_restarts,
    "hf_polynomial": hf_polynomial,
    "hf_constant_with_warmup": hf_constant_with_warmup,
    "hf_inverse_sqrt": hf_inverse_sqrt,
    "ultralytics_linear": ultralytics_linear,
    "ultralytics_cosine": ultralytics_cosine,
    "torch_step": torch_step,
    "torch_multi_step": torch_multi_step,
    "torch_exponential": torch_exponential,
    "torch_cosine": torch_cosine,
    "torch_warm_restarts": torch_warm_restarts,
    "torch_one_cycle": torch_one_cycle,
    "torch_linear": torch_linear,
    "torch_polynomial": torch_polynomial,
}
"""All kinds but the plateau's, which depends on the losses (`features.plateau_replay`)."""


def _warmed_up(after: pl.Expr) -> pl.Expr:
    return _rate * pl.when(_t < _warmup).then(_t / _warmup).otherwise(after)


def _share_after_warmup() -> pl.Expr:
    return (_t - _warmup) / _at_least_one(_total - _warmup)


def _at_least_one(count: pl.Expr) -> pl.Expr:
    return count.clip(lower_bound=1)


def _annealed(start: pl.Expr, end: pl.Expr, share: pl.Expr) -> pl.Expr:
    cosine = end + (start - end) / 2 * ((math.pi * share).cos() + 1)
    return pl.when(pl.col("linear_anneal")).then(start + (end - start) * share).otherwise(cosine)
