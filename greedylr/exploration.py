"""Random factors on the rate at a few random moments, so that later logs say what the rate did to the loss.

Logs of fixed schedules cannot: there the rate is a function of progress. With the factor and its probability on record
they can. Meant for one run in five to ten, and off unless asked for.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass

from greedylr.rule import require_count

FACTORS = (1 / 3, 1.0, 3.0)
PROBABILITY = 1 / len(FACTORS)
FEWEST_MOMENTS, MOST_MOMENTS = 3, 5


@dataclass(frozen=True)
class Moment:
    """From `step` on the rate is multiplied by `factor`, which was drawn with `probability`."""

    step: int
    factor: float
    probability: float = PROBABILITY

    def __post_init__(self) -> None:
        require_count("exploration.step", self.step, minimum=1)
        if self.factor not in FACTORS or self.probability != PROBABILITY:
            raise ValueError(
                f"a moment of exploration has a factor of {FACTORS} and the probability 1/3, "
                f"got {self.factor!r} and {self.probability!r}; load a state as it was saved"
            )


@dataclass(frozen=True)
class Exploration:
    """The plan of one run. A factor holds until the next moment, the last to the end; factors do not add up.

    The bounds of the schedule hold for the product too.
    """

    moments: tuple[Moment, ...]

    def __post_init__(self) -> None:
        steps = [moment.step for moment in self.moments]
        if steps != sorted(set(steps)):
            raise ValueError(
                f"moments of exploration must be in order, got steps {steps}; load a state as it was saved"
            )

    @classmethod
    def planned(cls, seed: int, total_steps: int, *, steps_per_evaluation: int = 1) -> Exploration:
        """Draw 3 to 5 moments and their factors; the same seed and length give the same plan everywhere.

        Raises
        ------
        ValueError
            If the run has too few evaluations to hold the moments.
        """
        require_count("explore", seed, minimum=0)
        evaluations = total_steps // steps_per_evaluation
        if evaluations <= MOST_MOMENTS:
            raise ValueError(
                f"explore needs more than {MOST_MOMENTS} evaluations in the run, got {evaluations}; leave it out here"
            )
        # The seed as text: Python hashes it alike on every machine, and no global state is touched.
        generator = random.Random(f"greedylr exploration {seed}")  # noqa: S311 - no secret hangs on it
        count = generator.randint(FEWEST_MOMENTS, MOST_MOMENTS)
        chosen = sorted(generator.sample(range(1, evaluations), count))
        return cls(tuple(Moment(place * steps_per_evaluation, generator.choice(FACTORS)) for place in chosen))

    def factor_at(self, step: int) -> float:
        """Return the factor at a step."""
        moment = self.moment_at(step)
        return 1.0 if moment is None else moment.factor

    def moment_at(self, step: int) -> Moment | None:
        """Return the moment that a step stands under; None before the first."""
        place = bisect_right(self.moments, step, key=lambda moment: moment.step)
        return self.moments[place - 1] if place else None
