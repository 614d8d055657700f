"""Progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: `report(what, done, total)`: `done` of `total` units of `what` are finished.
Report = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Report to nobody."""


@contextmanager
def progress_bars(console: Console) -> Iterator[Report]:
    """Give a reporter that draws a bar for each thing it is told of; off a terminal it writes a line when one ends."""
    if not console.is_terminal:
        yield _line_writer(console)
        return
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


def _line_writer(console: Console) -> Report:
    finished: set[str] = set()

    def report(what: str, done: int, total: int) -> None:
        if done < total:
            finished.discard(what)
        elif what not in finished:
            finished.add(what)
            console.print(f"{what}: {total} done")

    return report
