"""What `greedylr validate` prints for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from flows.cell_tables import VERDICT_STYLES, cells_note, cells_table, plain_table, selection_note, titled, verdict_text
from flows.pooling import Pooled
from flows.proof_rows import cell_rows
from flows.tables import duration_text
from flows.validation import Expected, Validated, Validation
from flows.validation_files import attempt_folder
from flows.validation_run import Outcome
from models.budget_plan import PlannedStep
from models.budget_share import BudgetShare
from models.comparison import HeadlineRow, headline
from models.pooled import SIGNIFICANT, PooledFigure, least_p_value


def expected_tables(validation: Validation, expected: Expected) -> Iterator[RenderableType]:
    """Return what a validation will take, step by step where it has a budget."""
    each = expected.cost.device_seconds
    runs = f"{expected.first_look:,}"
    if expected.most != expected.first_look:
        runs += f" to {expected.most:,}"
    seconds = duration_text(expected.first_look * each)
    if expected.most != expected.first_look:
        seconds += f" to {duration_text(expected.most * each)}"
    yield Text(
        f"{validation.preset.name} on {validation.workload.name}: about {runs} runs, {seconds} of the device "
        f"({each:.2g} s a run, known from {expected.cost.source}); attempt {validation.attempt}"
    )
    if expected.steps:
        table = plain_table("step", "runs", "about", "what")
        for planned in (each for each in expected.steps if each.within):
            step = planned.step
            table.add_row(step.kind, str(step.trainings), duration_text(planned.seconds), step.label)
        yield titled("In this order, if nothing is decided sooner", table, _left_out(expected.steps))


def _left_out(steps: Sequence[PlannedStep]) -> str:
    """Return in one line what lies beyond the budget."""
    beyond = [planned.step for planned in steps if not planned.within]
    counts = Counter(step.kind for step in beyond)
    if not beyond:
        return "The budget reaches all there is to train."
    listed = ", ".join(
        f"{count} x {kind} ({sum(step.trainings for step in beyond if step.kind == kind)} runs)"
        for kind, count in counts.items()
    )
    return f"Left out, since the budget does not reach so far: {listed}."


def outcome_tables(outcome: Outcome) -> Iterator[RenderableType]:
    """Return the tables of all validations, of figures over them, and where the results lie."""
    for validated in outcome.validated:
        yield from validated_tables(validated)
    for name, reason in outcome.failed.items():
        yield Text(f"{name}: failed: {reason}", style="red")
    if outcome.pooled is not None:
        yield from pooled_tables(outcome.pooled)


def validated_tables(validated: Validated) -> Iterator[RenderableType]:
    """Return the verdict, the cells, the headline and what it took."""
    validation, proof = validated.validation, validated.proof
    title = Text.assemble(
        (f"{validation.preset.name} on {validation.workload.name}: ", "bold"), verdict_text(proof.verdict)
    )
    note = f"{cells_note(proof.mean_regrets)}{selection_note(proof.verdict)}"
    yield titled(title, cells_table(cell_rows(proof), proof.mean_regrets), note)
    if validated.remark:
        yield Text(f"{validated.remark}.\n", style="yellow")
    yield _headline_table(headline(proof.cells))
    yield from _rates(validated)
    if validated.share is not None:
        yield _share_table(validated.share)
    verdict = proof.verdict
    yield Text(
        f"attempt {verdict.attempt}; spent {proof.trainings:,} runs, {proof.device_seconds:,.1f} device-seconds; "
        f"results in {attempt_folder(validation.folder, verdict.attempt)}\n"
    )


def pooled_tables(pooled: Pooled) -> Iterator[RenderableType]:
    """Return figures over several workloads."""
    table = plain_table("over families", "mean", "95 % interval", "families", "workloads")
    for group, figure in pooled.shares.items():
        table.add_row(f"better or non-inferior, {group}", *_figure(figure, "{:.0%}"))
    for control, figure in pooled.differences.items():
        table.add_row(f"regret difference to {control}, own rates", *_figure(figure, "{:+.3f}"))
    yield titled("Over workloads", table)
    if pooled.contrasts:
        contrasts = plain_table("confirmatory contrast", "difference", "95 % interval", "p", "p, Holm")
        for contrast in pooled.contrasts:
            cells = _figure(contrast.figure, "{:+.3f}")[:2]
            contrasts.add_row(contrast.control, *cells, f"{contrast.p_value:.3g}", f"{contrast.adjusted:.3g}")
        families = pooled.contrasts[0].figure.families
        least = least_p_value(families, len(pooled.contrasts))
        few = (
            f"With {families} families Holm's p-value cannot be below {least:.2g}: no contrast can be shown."
            if least > SIGNIFICANT
            else ""
        )
        yield titled("Over starting rates", contrasts, few)
    if pooled.reason:
        yield Text(pooled.reason, style="yellow")


def _headline_table(rows: Sequence[HeadlineRow]) -> RenderableType:
    table = plain_table("better or non-inferior", *(row.region for row in rows if row.rule == "margin"))
    names = {
        "margin": "by the margin, undecided counts as failed",
        "lenient": "by a lenient rule: mean difference at most 1 % or 2 standard errors",
    }
    for rule, name in names.items():
        shares = [f"{row.passed} of {row.cells}, {row.share:.0%}" for row in rows if row.rule == rule]
        table.add_row(name, *shares)
    table.add_row("undecided", *(str(row.undecided) for row in rows if row.rule == "margin"))
    return titled("Cells", table)


def _rates(validated: Validated) -> Iterator[RenderableType]:
    proof = validated.proof
    rates = ", ".join(f"{name} {rate:.3g}" for name, rate in proof.control_rates.items())
    yield Text(f"rates: preset {proof.winner.learning_rate:.3g}; {rates}", style="dim")


def _share_table(share: BudgetShare) -> RenderableType:
    table = plain_table("share of the steps", "difference", "seeds", "verdict")
    for part, cell in share.cells.items():
        difference = f"{cell.difference:+.3f} [{cell.interval.lower:+.3f}, {cell.interval.upper:+.3f}]"
        verdict = Text(cell.verdict, style=VERDICT_STYLES[cell.verdict])
        table.add_row(f"{part:.0%}", Text(difference), str(cell.seeds), verdict)
    smallest = "none, not even all of it" if share.smallest is None else f"{share.smallest:.0%}"
    title = f"Smallest share of the budget that is as good as tuned cosine with all of it: {smallest}"
    note = f"From the largest down to the first that fails; {share.trainings:,} runs, {share.device_seconds:,.1f} s"
    return titled(title, table, note)


def _figure(figure: PooledFigure, form: str) -> tuple[str, Text, str, str]:
    interval = f"[{form.format(figure.interval.lower)}, {form.format(figure.interval.upper)}]"
    return form.format(figure.mean), Text(interval), str(figure.families), str(figure.workloads)
