"""The rule held in place, for a loop that decides at every step: most decisions only count, and cost a comparison."""

from __future__ import annotations

import math

from greedylr.rule import GreedyLRParameters, GreedyLRState


class RunningRule:
    """A state of the rule that counts in place: `counts` answers where `greedylr.rule.next_state` would only count.

    Anything more, and everything where it answers no, is for `next_state` to decide.
    """

    __slots__ = ("_bad", "_best", "_good", "_guard", "_limit", "_patience", "_state", "parameters")

    def __init__(self, parameters: GreedyLRParameters, state: GreedyLRState) -> None:
        self.parameters = parameters
        self.state = state

    @property
    def state(self) -> GreedyLRState:
        """The state as the rule knows it."""
        rate, start, _, _, _, cooldown, warmup, reset_counter, resets, ceiling = self._state
        counted = (rate, start, self._best, self._good, self._bad, cooldown, warmup, reset_counter, resets, ceiling)
        return tuple.__new__(GreedyLRState, counted)

    @state.setter
    def state(self, state: GreedyLRState) -> None:
        parameters = self.parameters
        self._state = state
        self._best, self._good, self._bad = state.best, state.num_good, state.num_bad
        in_stage = state.cooldown_counter > 0 or state.warmup_counter > 0
        # Better and beyond the guard at once: only where the threshold of a negative best is inverted.
        odd = parameters.guard is not None and parameters.threshold_mode == "rel_signed"
        quiet = parameters.mode == "min" and not in_stage and not odd and math.isfinite(state.best)
        # Without patience every decision is next_state's.
        self._patience = parameters.patience if quiet else -1
        self._measure(state.best)

    @property
    def learning_rate(self) -> float:
        """The rate, in the unit of the parameters' bounds."""
        return self._state.learning_rate

    def counts(self, loss: float) -> bool:
        """Count a finite loss if that is all that it comes to, and return whether it was."""
        if loss < self._limit:
            if self._good < self._patience:
                self._good += 1
                self._bad = 0
                self._measure(loss)
                return True
        elif self._bad < self._patience and loss - self._best <= self._guard:
            self._bad += 1
            self._good = 0
            return True
        return False

    def _measure(self, best: float) -> None:
        """Take a best, and work out what a loss must be to beat it and to leave its guard."""
        parameters = self.parameters
        self._best = best
        if parameters.threshold_mode == "abs":
            self._limit = best - parameters.threshold
        else:
            grows = best < 0 and parameters.threshold_mode == "rel"
            self._limit = best * (1.0 + parameters.threshold if grows else 1.0 - parameters.threshold)
        self._guard = math.inf if parameters.guard is None else parameters.guard * abs(best)
