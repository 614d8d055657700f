"""What a cell lacks: pairs that could not be trained, and how many more would decide it at the spread seen so far."""

from __future__ import annotations

import math

from scipy import stats

from greedylr.verdict import MARGIN
from models.cells import Cell, Judgement
from models.looks import LOOKS, level_at, next_look

# Beyond this many nobody trains: the answer is "not by more seeds".
MOST_SEEDS = 10_000


def what_it_lacks(cell: Cell) -> str:
    """Return in words how many pairs of a cell are lost, and where it is undecided, why; empty if it lacks nothing."""
    lost = f"{cell.failed} {'pair' if cell.failed == 1 else 'pairs'} could not be trained" if cell.failed else ""
    undecided = _why_undecided(cell) if cell.verdict == "undecided" else ""
    return "; ".join(each for each in (lost, undecided) if each)


def _why_undecided(cell: Cell) -> str:
    """Return the reason in words, and how many more runs would decide it."""
    if cell.seeds < LOOKS[0]:
        return f"the {cell.seeds} that are left are too few for an interval"
    interval = cell.interval
    reason = f"after {cell.seeds} pairs the difference lies in [{interval.lower:+.3f}, {interval.upper:+.3f}]"
    seeds = seeds_to_decide(cell)
    if seeds is None:
        return f"{reason}, and no number of runs would decide it at this spread"
    beyond = f" (a comparison ends at {LOOKS[-1]} pairs)" if seeds > LOOKS[-1] else ""
    return f"{reason}; at this spread {seeds} pairs would decide it, {2 * (seeds - cell.seeds)} more runs{beyond}"


def seeds_to_decide(judgement: Judgement, margin: float = MARGIN) -> int | None:
    """Return the number of paired seeds at which an undecided cell would be decided; None beyond `MOST_SEEDS`.

    The mean difference d and the spread s of the pairs are taken to stay as they are. A cell with n pairs is decided
    where the half-width of its interval, t(n - 1) s / √n, is below |d| ("better" or "worse") or below margin - d
    ("non-inferior"). Within the looks the number is one of theirs; beyond them the last look's level is kept.

    Parameters
    ----------
    judgement
        At a look, so that its interval shows the spread.
    margin
        Of non-inferiority.
    """
    half_width = (judgement.interval.upper - judgement.interval.lower) / 2
    spread = half_width * math.sqrt(judgement.seeds) / _quantile(judgement.seeds, judgement.interval.level)
    needed = max(abs(judgement.difference), margin - judgement.difference)
    seeds = judgement.seeds
    while seeds < MOST_SEEDS:
        following = next_look(seeds)
        seeds = seeds + 1 if following is None else following
        level = level_at(min(seeds, LOOKS[-1]))
        if _quantile(seeds, level) * spread / math.sqrt(seeds) < needed:
            return seeds
    return None


def _quantile(seeds: int, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, df=seeds - 1))
