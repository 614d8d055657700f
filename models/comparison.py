"""Comparison of a schedule with its controls on one workload: a table of retrainings in, verdicts out.

What is measured and why: docs/method.md, section 6. Retrained jobs, a user's own command and past runs all come here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from greedylr.schedules import PRIMARY_CONTROL
from greedylr.verdict import MARGIN, Verdict
from models.cells import PASSING, REGIONS, Cell, Region, judge, judge_what_is_left, region_of
from models.looks import LOOKS
from models.regret import RegretScale, regret
from models.results import Results

# Starting rates in multiples of cosine's tuned rate.
MULTIPLES = (1 / 27, 1 / 9, 1 / 3, 1.0, 3.0, 9.0)
INCUMBENT = "incumbent"
LEAST_PAIRS = 2


@dataclass(frozen=True, kw_only=True)
class HeadlineRow:
    """The share of cells in which the preset is as good as the control or better.

    Parameters
    ----------
    rule
        "margin" for the verdicts, where undecided cells count as failed; "lenient" for the prototypes' rule.
    region
        A group of starting rates, or "all".
    cells, passed
        Number of cells, and of those that pass the rule.
    better, undecided
        Number of cells with these verdicts, the same under both rules.
    """

    rule: Literal["margin", "lenient"]
    region: Region | Literal["all"]
    cells: int
    passed: int
    better: int
    undecided: int

    @property
    def share(self) -> float:
        """Passed cells over all cells."""
        return self.passed / self.cells


def compare(
    results: Results,
    *,
    preset: str,
    preset_rate: float,
    control_rates: Mapping[str, float],
    base_rate: float,
    scale: RegretScale,
    multiples: Sequence[float] = MULTIPLES,
    margin: float = MARGIN,
    looks: tuple[int, ...] = LOOKS,
) -> list[Cell]:
    """Return the cells of a preset: against each control from each starting rate, and each at its own rate.

    Parameters
    ----------
    results
        Trainings of the preset and of all controls at `base_rate` x each of `multiples` and at their own rates.
    preset, preset_rate
        Its name in `results`, and its recommended starting rate.
    control_rates
        Own rate of each control: the tuned one, and for the incumbent its usual one. The preset's own name among
        them is skipped, since nothing is compared with itself.
    base_rate
        Cosine's tuned rate.
    scale
        Of the workload's reporting loss.
    multiples
        Of `base_rate`; empty for the comparison at own rates alone.

    Returns
    -------
    list of Cell
        By control in the order given, then by starting rate, own rates last.

    Raises
    ------
    ValueError
        If a training is missing, with its schedule, rate and seeds.
    """
    controls = [name for name in control_rates if name != preset]
    if not controls:
        raise ValueError(
            f"a comparison needs a control other than the preset {preset!r} itself, got {list(control_rates)}"
        )
    cells = []
    for control in controls:
        pairs: list[tuple[Region, float, float]] = [
            (region_of(multiple), base_rate * multiple, base_rate * multiple) for multiple in sorted(multiples)
        ]
        pairs.append(("own rate", preset_rate, control_rates[control]))
        cells += [
            judged_pair(
                results,
                (preset, rate),
                (control, control_rate),
                region=region,
                scale=scale,
                margin=margin,
                looks=looks,
            )
            for region, rate, control_rate in pairs
        ]
    return cells


def judged_pair(
    results: Results,
    preset: tuple[str, float],
    control: tuple[str, float],
    *,
    region: Region,
    scale: RegretScale,
    margin: float = MARGIN,
    looks: tuple[int, ...] = LOOKS,
) -> Cell:
    """Return the cell of one preset and one control, each a name and a starting rate; errors as `compare`.

    Pairs of which one could not be trained are left out. A verdict in the preset's favour must also stand where those
    that the preset alone lost count as diverged; if it does not, the cell is the one with those.
    """
    rows, control_rows = _paired_rows(results, preset, control, looks)
    failed, control_failed = results.failed[rows], results.failed[control_rows]
    starting_rate, control_rate = (float(results.starting_rate[each[0]]) for each in (rows, control_rows))
    kept = ~(failed | control_failed)
    diverged = results.has_diverged(results.reporting_loss) | results.failed
    regrets = regret(results.reporting_loss, scale, diverged)
    differences = regrets[rows] - regrets[control_rows]
    judged = judge if kept.all() else judge_what_is_left
    judgement = judged(differences[kept], margin=margin, looks=looks)
    if judgement.verdict in PASSING and np.any(failed & ~control_failed):
        # A preset must not profit from losing the pairs that would have spoken against it.
        strict = judge_what_is_left(differences[~control_failed], margin=margin, looks=looks)
        if strict.verdict not in PASSING:
            judgement, kept = strict, ~control_failed
    rows, control_rows, lost_pairs = rows[kept], control_rows[kept], int(np.sum(failed | control_failed))
    lost, control_lost = diverged[rows[: judgement.seeds]], diverged[control_rows[: judgement.seeds]]
    return Cell(
        **vars(judgement),
        control=control[0],
        region=region,
        starting_rate=starting_rate,
        control_rate=control_rate,
        only_preset_diverged=int(np.sum(lost & ~control_lost)),
        only_control_diverged=int(np.sum(control_lost & ~lost)),
        both_diverged=int(np.sum(lost & control_lost)),
        failed=lost_pairs,
    )


def headline(cells: Sequence[Cell]) -> list[HeadlineRow]:
    """Return the share of passing cells for each region that has any and for all, by both rules.

    Raises
    ------
    ValueError
        If there is no cell.
    """
    if not cells:
        raise ValueError("a headline needs at least one cell, got none; compare first")
    groups: list[tuple[Region | Literal["all"], list[Cell]]] = [
        (region, [cell for cell in cells if cell.region == region]) for region in REGIONS
    ]
    groups.append(("all", distinct(cells)))
    rules: tuple[Literal["margin", "lenient"], ...] = ("margin", "lenient")
    return [_headline_row(rule, region, group) for rule in rules for region, group in groups if group]


def distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Return each comparison once: where both own rates are cosine's tuned one, "own rate" is "near" again."""
    return list(
        {(cell.control, f"{cell.starting_rate:.9e}", f"{cell.control_rate:.9e}"): cell for cell in cells}.values()
    )


def mean_regret(
    results: Results,
    schedule: str,
    *,
    base_rate: float,
    scale: RegretScale,
    multiples: Sequence[float] = MULTIPLES,
) -> float:
    """Return a schedule's mean regret over starting rates, each with equal weight whatever its number of seeds.

    Trainings that failed are left out where others of their seed failed too, and else have diverged.
    """
    results = results.without_failed_seeds()
    regrets = regret(results.reporting_loss, scale, results.diverged)
    rows = [results.rows(schedule, base_rate * multiple) for multiple in multiples]
    return float(np.mean([regrets[each].mean() for each in rows]))


def primary_cell(cells: Sequence[Cell]) -> Cell:
    """Return the cell that decides: against the incumbent where there is one, else against cosine, at own rates."""
    own = {cell.control: cell for cell in cells if cell.region == "own rate"}
    for control in (INCUMBENT, PRIMARY_CONTROL):
        if control in own:
            return own[control]
    raise ValueError(
        f"the verdict rests on the cell at own rates against {INCUMBENT!r} or {PRIMARY_CONTROL!r}, "
        f"got own-rate cells against {sorted(own)}; train that control as well"
    )


def preset_verdict(
    cells: Sequence[Cell],
    *,
    workload: str,
    own_workload: bool,
    attempt: int,
    device_seconds: float = 0.0,
    margin: float = MARGIN,
    control_tuned: bool = True,
) -> Verdict:
    """Return the verdict of a preset: that of its primary cell, with the counts of all others beside it.

    Raises
    ------
    ValueError
        If there is no primary cell, or nearly all of its pairs could not be trained.
    """
    primary = primary_cell(cells)
    if primary.seeds < LEAST_PAIRS:
        raise ValueError(
            f"a verdict needs at least {LEAST_PAIRS} pairs against {primary.control}, got {primary.seeds}, since "
            f"{primary.failed} could not be trained; mend what makes the workload fail, and prove again"
        )
    counts: Counter[str] = Counter(cell.verdict for cell in distinct(cells))
    return Verdict(
        verdict=primary.verdict,
        difference=primary.difference,
        interval=primary.interval,
        margin=margin,
        primary_control=primary.control,
        workload=workload,
        own_workload=own_workload,
        seeds=primary.seeds,
        attempt=attempt,
        cells=dict(counts),
        device_seconds=device_seconds,
        control_tuned=control_tuned,
    )


def _headline_row(
    rule: Literal["margin", "lenient"], region: Region | Literal["all"], cells: list[Cell]
) -> HeadlineRow:
    passes = [cell.lenient if rule == "lenient" else cell.verdict in PASSING for cell in cells]
    return HeadlineRow(
        rule=rule,
        region=region,
        cells=len(cells),
        passed=sum(passes),
        better=sum(cell.verdict == "better" for cell in cells),
        undecided=sum(cell.verdict == "undecided" for cell in cells),
    )


def _paired_rows(
    results: Results, preset: tuple[str, float], control: tuple[str, float], looks: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of the pairs, in the order of the seeds.

    One side may have been trained further for the sake of other cells, if the other stopped at a look.
    """
    rows, control_rows = results.rows(*preset), results.rows(*control)
    seeds, control_seeds = results.seed[rows].tolist(), results.seed[control_rows].tolist()
    pairs = min(len(rows), len(control_rows))
    stopped_at_a_look = len(rows) == len(control_rows) or pairs in looks
    if not stopped_at_a_look or seeds[:pairs] != control_seeds[:pairs]:
        lacking = [
            f"{name!r} at rate {rate:.6g} lacks seeds {sorted(set(theirs) - set(own))}"
            for (name, rate), own, theirs in ((preset, seeds, control_seeds), (control, control_seeds, seeds))
            if set(theirs) - set(own)
        ]
        raise ValueError(
            f"a pair shares its seed: {'; '.join(lacking)}; train them, or drop the other half of these pairs"
        )
    return rows[:pairs], control_rows[:pairs]
