"""One run of a command in a process group of its own: no shell, no input, a time limit, and a log that stays small."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

POLL_SECONDS = 0.1
CHUNK = 65_536
# What a process that left its group may still have written when the group was killed; a pipe holds no more.
MOST_LEFT_CHUNKS = 16
LOG_BYTES = 2**20
LAST_LINES = 8


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended.

    Parameters
    ----------
    status
        Its exit status, below 0 the signal that killed it; None where it was killed at its time limit.
    seconds
        How long it ran.
    last_lines
        Of its output.
    """

    status: int | None
    seconds: float
    last_lines: tuple[str, ...]


class BoundedLog:
    """A file that keeps the end of what is written: full, it is put aside as `.old` and begun anew.

    Parameters
    ----------
    path
        The file.
    most_bytes
        What both files together never exceed.
    """

    def __init__(self, path: Path, most_bytes: int = LOG_BYTES) -> None:
        self._path = path
        self._half = max(1, most_bytes // 2)
        self._old = path.with_name(f"{path.name}.old")
        self._file: BinaryIO | None = None
        self._written = 0

    def __enter__(self) -> Self:
        self._old.unlink(missing_ok=True)
        self._file = self._path.open("wb", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, text: bytes) -> None:
        """Append; OSError with the file's name where the disk takes no more."""
        try:
            self._append(text)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def _append(self, text: bytes) -> None:
        while text:
            assert self._file is not None
            if self._written >= self._half:
                self._file.close()
                self._path.replace(self._old)
                self._file = self._path.open("wb", buffering=0)
                self._written = 0
            taken = self._file.write(text[: self._half - self._written])
            self._written += taken
            text = text[taken:]

    def last_lines(self, count: int = LAST_LINES) -> tuple[str, ...]:
        """Return the last lines that say anything."""
        text = b"".join(path.read_bytes() for path in (self._old, self._path) if path.is_file())
        lines = [line.rstrip() for line in text.decode(errors="replace").splitlines()]
        return tuple([line for line in lines if line][-count:])


def run_process(
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    timeout_s: float,
    stopped: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run a program to its end or to its time limit; whatever of its group is still there then is killed.

    Parameters
    ----------
    arguments
        The program and what it is given.
    folder
        Where it runs.
    environment
        All of its variables.
    log
        Where its output goes.
    timeout_s
        > 0, its time limit.
    stopped
        Asked a few times a second whether to give it up at once.

    Raises
    ------
    OSError
        If the program cannot be started, or its output not be kept.
    InterruptedError
        If it was given up.
    """
    with BoundedLog(log) as kept:
        begun = time.monotonic()
        with _started(arguments, folder, environment) as process:
            in_time = _follow(process, kept, begun + timeout_s, stopped)
        seconds = time.monotonic() - begun
        return Ended(status=process.returncode if in_time else None, seconds=seconds, last_lines=kept.last_lines())


@contextmanager
def _started(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603 - the user's own command, and no shell
        list(arguments),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _kill_group(process)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _follow(process: subprocess.Popen[bytes], log: BoundedLog, deadline: float, stopped: Callable[[], bool]) -> bool:
    """Keep what a process writes until it ends; False where its time was up before."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    os.set_blocking(output, False)
    is_open = True
    while process.poll() is None:
        if stopped():
            raise InterruptedError("the command was given up")
        if time.monotonic() > deadline:
            _kill_group(process)
            process.wait()
            _keep_rest(output, log)
            return False
        if is_open:
            is_open = _keep_some(output, log)
        else:
            # It has closed its output and goes on.
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
    _kill_group(process)
    _keep_rest(output, log)
    return True


def _keep_some(output: int, log: BoundedLog) -> bool:
    """Wait a little for output and keep it; False where there will be no more."""
    ready, _, _ = select.select([output], [], [], POLL_SECONDS)
    if not ready:
        return True
    text = os.read(output, CHUNK)
    log.write(text)
    return bool(text)


def _keep_rest(output: int, log: BoundedLog) -> None:
    with suppress(BlockingIOError):
        for _ in range(MOST_LEFT_CHUNKS):
            text = os.read(output, CHUNK)
            if not text:
                return
            log.write(text)
