"""Progress bars on a terminal, plain lines elsewhere, and warnings between them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

#: `report(what, done, total)`: `done` of `total` units of `what` are finished.
Report = Callable[[str, int, int], None]

_MANY_PER_SECOND = 100


def silent(what: str, done: int, total: int) -> None:
    """Report to nobody."""


@contextmanager
def progress_bars(console: Console) -> Iterator[Report]:
    """Give a reporter that draws a bar for each thing it is told of; off a terminal it writes a line when one ends."""
    if not console.is_terminal:
        yield _line_writer(console)
        return
    what = TextColumn("{task.description:<44}", markup=False)
    columns = (what, BarColumn(), MofNCompleteColumn(), _SpeedColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


@contextmanager
def warnings_shown(console: Console) -> Iterator[None]:
    """Print what our packages log as a warning, or worse, the way a person reads it."""
    handler = _OnConsole(console)
    loggers = [logging.getLogger(name) for name in ("features", "flows", "models", "pipeline")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _SpeedColumn(ProgressColumn):
    """Units a second where there are many of them: points, not trainings."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            f"{speed:,.0f}/s" if speed is not None and speed >= _MANY_PER_SECOND else "", style="progress.data.speed"
        )


class _OnConsole(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(level=logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "red" if record.levelno >= logging.ERROR else "yellow"
        text = Text(f"{record.levelname.capitalize()}: {record.getMessage()}", style=style)
        self._console.print(text, soft_wrap=True)


def _line_writer(console: Console) -> Report:
    finished: set[str] = set()

    def report(what: str, done: int, total: int) -> None:
        if done < total:
            finished.discard(what)
        elif what not in finished:
            finished.add(what)
            console.print(Text(f"{what}: {total} done"), soft_wrap=True)

    return report
