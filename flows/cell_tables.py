"""The cells of a proof as a table, one line a control; and how all our tables look."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from greedylr.verdict import Verdict
from models.cells import REGIONS
from models.fresh_comparison import PRESET

# Short, and hard to read in two lines. An address is never among them: Rich would cut it off where room is short.
ONE_LINE = ("verdict", "starting rate", "difference", "factor")
VERDICT_STYLES = {"better": "green", "non-inferior": "cyan", "undecided": "yellow", "worse": "red"}


def cells_table(cells: pl.DataFrame, mean_regrets: Mapping[str, float]) -> Table:
    """Return one line a control.

    Parameters
    ----------
    cells
        As the warehouse holds them.
    mean_regrets
        By schedule; empty where they were not measured.
    """
    low_to_high = REGIONS[:-1] if set(cells["region"]) - {"own rate"} else ()
    regret_column = ["mean regret"] if mean_regrets else []
    table = plain_table("control", "difference", "seeds", "verdict", *low_to_high, *regret_column)
    for control in cells["control"].unique(maintain_order=True).to_list():
        rows = cells.filter(pl.col("control") == control)
        shares = [_passed(rows.filter(pl.col("region") == region)) for region in low_to_high]
        regret = [f"{mean_regrets[control]:.3f}" if control in mean_regrets else ""] if mean_regrets else []
        table.add_row(control, *_own_rate(rows), *shares, *regret)
    return table


def cells_note(mean_regrets: Mapping[str, float]) -> str:
    """Return how to read the table."""
    note = "Difference in regret with its interval, each schedule at its own rate: below 0 the preset is better."
    if not mean_regrets:
        return note
    return (
        f"{note} Then from how many starting rates it is as good or better (27, 9 and 3 times below cosine's tuned "
        "rate; at it; 3 and 9 times above), and the control's mean regret over them; the preset's is "
        f"{mean_regrets[PRESET]:.3f}."
    )


def verdict_text(verdict: Verdict, where: str = "") -> Text:
    """Return a verdict in words."""
    words = "than" if verdict.verdict in ("better", "worse") else "against"
    untuned = "" if verdict.control_tuned else ", whose rate was not tuned"
    selection = "" if verdict.selection == "apart" else ", selection = report"
    return Text(
        f"{verdict.verdict} {words} {verdict.primary_control}{untuned}{where}{selection}",
        style=VERDICT_STYLES[verdict.verdict],
    )


def selection_note(verdict: Verdict) -> str:
    """Return what is to be known where one metric chose and is reported; empty where two did."""
    if verdict.selection == "apart":
        return ""
    return " Rates were chosen by the very metric that is reported: name a report_metric to keep the two apart."


def titled(title: str | Text, table: Table, note: str = "") -> RenderableType:
    """Return a table under its title: Rich would break the title to the width of the table."""
    heading = Text(title, style="bold") if isinstance(title, str) else title
    notes = [Text(note, style="dim")] if note else []
    return Group(heading, *notes, *([table] if table.row_count else []), Text())


def plain_table(*columns: str) -> Table:
    """Return a table without lines."""
    table = Table(header_style="dim", box=None, pad_edge=False)
    for column in columns:
        # No word of a heading is broken.
        longest = max(map(len, column.split()), default=0)
        table.add_column(column, overflow="fold", no_wrap=column in ONE_LINE, min_width=longest)
    return table


def _own_rate(cells: pl.DataFrame) -> list[str | Text]:
    own = cells.filter(pl.col("region") == "own rate").to_dicts()
    if not own:
        return ["", "", ""]
    return [
        # Rich reads [...] as a style.
        Text(f"{own[0]['difference']:+.3f} [{own[0]['lower']:+.3f}, {own[0]['upper']:+.3f}]"),
        str(own[0]["seeds"]),
        Text(own[0]["verdict"], style=VERDICT_STYLES[own[0]["verdict"]]),
    ]


def _passed(cells: pl.DataFrame) -> str:
    verdicts = cells["verdict"].to_list()
    passed = sum(verdict in ("better", "non-inferior") for verdict in verdicts)
    return f"{passed} of {len(verdicts)}" if verdicts else ""
