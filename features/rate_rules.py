"""The parts of a rebuilt learning rate: what is declared, how long the run was meant to be, and the rule they give."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from features.planned_lengths import Unit
from features.rate_formulas import Kind

EMPTY: Final = frozenset({"", "none", "null", "nan", "false", "off", "no", "0", "0.0", "{}", "[]", "()", "-1"})
"""Values, in lower case, under which nothing is configured."""
CONSTANT: Final = frozenset({"constant", "constantlr", "const", "fixed", "off", "no", "false"})
"""Names, in lower-case letters, of no schedule."""


class UntoldError(Exception):
    """The params do not tell the schedule whole; the message says why. A retry cannot help."""


@dataclass(frozen=True, kw_only=True)
class RateRule:
    """A schedule with its numbers; which of them count is up to the kind (`features.rate_formulas`).

    Parameters
    ----------
    kind, rate
        Formula, and the rate that it scales.
    reason
        One clause: what it was read from.
    offset
        Step of the trajectory at which t = 0.
    from_step
        Earlier rates are unknown.
    assumed
        Whether nothing says that the rate was constant, but nothing says otherwise.
    """

    kind: Kind
    rate: float
    reason: str
    offset: float = 0.0
    from_step: float = -math.inf
    assumed: bool = False
    total: float = 1.0
    warmup: float = 0.0
    cycles: float = 1.0
    power: float = 1.0
    low: float = 0.0
    gamma: float = 1.0
    step_size: float = 1.0
    milestones: tuple[float, ...] = ()
    multiple: float = 1.0
    pct_start: float = 0.3
    div: float = 25.0
    final_div: float = 10_000.0
    linear_anneal: bool = False
    start_factor: float = 1.0
    end_factor: float = 1.0
    patience: float = 0.0
    threshold: float = 0.0
    cooldown: float = 0.0
    absolute: bool = False


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What a run's metric `epoch` said at one step of its first epoch; `precision` is how far rounding moved it."""

    step: int
    epoch: float
    precision: float

    def batches(self, accumulated: float) -> int | None:
        """Return the batches an epoch where one number fits: an update takes `accumulated` of them."""
        done = self.step * accumulated
        low, high = done / (self.epoch + self.precision), done / max(self.epoch - self.precision, 1e-12)
        fitting = range(math.ceil(low * (1 - 1e-9)), math.floor(high * (1 + 1e-9)) + 1)
        return fitting[0] if len(fitting) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a run was meant to be, as far as that is declared or measured.

    Parameters
    ----------
    unit, planned
        Of the trajectory's steps; None where no declared length fits.
    first, last
        Steps seen.
    clock
        None where the run logged no epochs in fractions.
    """

    unit: Unit | None
    planned: int | None
    first: int
    last: int
    clock: Clock | None = None

    def epochs_from(self, what: str) -> float:
        """Return the step of the first epoch, 0 or 1, for a schedule that steps once an epoch.

        Raises
        ------
        UntoldError
            If steps are not known to be epochs, or the run did not start with the first.
        """
        if self.unit != "epoch" or self.planned is None:
            raise UntoldError(f"{what}: the steps are not known to be epochs")
        if self.first > 1:
            raise UntoldError(f"{what}: the run starts at epoch {self.first}")
        return float(self.first)

    def own_unit(self, what: str, total: float) -> float:
        """Return the step at which a schedule starts whose own length must be the run's: that says what it counts.

        Raises
        ------
        UntoldError
            If the two lengths differ, or the run did not start at the beginning.
        """
        if self.unit is None or self.planned is None or total != self.planned:
            planned = "unknown" if self.planned is None else f"{self.planned} {self.unit or 'step'}s"
            raise UntoldError(f"{what} counts to {total:g}, the run's declared length is {planned}: which unit?")
        if self.unit == "epoch":
            return self.epochs_from(what)
        # Steps that do not begin with 0 are numbers of updates done, so the rate of the first is the schedule's first.
        return 0.0 if self.first == 0 else 1.0


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A run's params by plain name, and by the name as it was written; values stripped."""

    plain: Mapping[str, str]
    written: Mapping[str, str]

    def text(self, *endings: str) -> str | None:
        """Return what stands under a name that ends like this: the first ending that is there, its shortest name."""
        for ending in endings:
            names = [name for name in self.plain if name == ending or name.endswith(f"_{ending}")]
            if names:
                return self.plain[min(names, key=lambda name: (len(name), name))]
        return None

    def number(self, *endings: str) -> float | None:
        """Return the same as a finite number; None where it is none."""
        return as_number(self.text(*endings))

    def needed(self, *endings: str) -> float:
        """Return the number, or refuse.

        Raises
        ------
        UntoldError
            If there is none.
        """
        number = self.number(*endings)
        if number is None:
            raise UntoldError(f"{endings[0]} is not declared")
        return number

    def numbers(self, *endings: str) -> tuple[float, ...]:
        """Return a list of numbers in ascending order, or refuse.

        Raises
        ------
        UntoldError
            If there is none.
        """
        text = (self.text(*endings) or "").strip(" []()")
        found = [as_number(part) for part in text.split(",") if part.strip()]
        if not found or None in found:
            raise UntoldError(f"{endings[0]} is not declared as a list of numbers")
        return tuple(sorted(number for number in found if number is not None))

    def is_true(self, *endings: str) -> bool:
        """Whether the text is "true"."""
        return (self.text(*endings) or "").lower() == "true"


def as_number(text: str | None) -> float | None:
    """Return the finite number that a text is, or that stands alone in brackets; else None."""
    try:
        number = float((text or "").strip(" []()").rstrip(","))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def letters(name: str) -> str:
    """Return the lower-case letters and digits of a class's or scheduler's own name.

    Examples
    --------
    >>> letters("torch.optim.lr_scheduler.StepLR"), letters("<torch.optim.lr_scheduler.StepLR object at 0x7f>")
    ('steplr', 'steplr')
    """
    printed = re.match(r"<(?:class ')?([\w.]+)", name)
    return re.sub(r"[^a-z0-9]", "", (printed.group(1) if printed else name).lower().rsplit(".", 1)[-1])
