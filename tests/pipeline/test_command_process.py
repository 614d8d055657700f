"""Real processes: what they write is kept within bounds, and none of them outlives its time."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.command_process import BoundedLog, Ended, run_process

PATIENCE_S = 60.0


def python(
    code: str,
    folder: Path,
    *arguments: str,
    timeout_s: float = PATIENCE_S,
    log: Path | None = None,
    stop: threading.Event | None = None,
) -> Ended:
    return run_process(
        [sys.executable, "-S", "-c", code, *arguments],
        folder=folder,
        environment={"PATH": os.environ["PATH"], "GIVEN": "a b"},
        log=log or folder / "output.log",
        timeout_s=timeout_s,
        stopped=(stop or threading.Event()).is_set,
    )


def has_died(pid: int) -> bool:
    """Whether a process that was killed is gone within a while; the system takes it down in its own time."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            # A child whose parent is gone waits for some other process to ask for its status.
            if sys.platform == "linux" and ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_a_command_runs_in_its_folder_with_its_variables_and_nothing_to_read(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), dict(os.environ)['GIVEN'], repr(sys.stdin.read()), sys.argv[1:])"
    ended = python(code, tmp_path, "a; b")
    assert (ended.status, ended.last_lines) == (0, (f"{tmp_path} a b '' ['a; b']",))


def test_exit_status_and_last_lines_are_told(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "print('\\n'.join(map(str, range(100))), flush=True)\n"
        "print(file=sys.stderr)\n"
        "sys.exit('no such file')"
    )
    ended = python(code, tmp_path)
    assert ended.status == 1
    assert ended.last_lines == ("93", "94", "95", "96", "97", "98", "99", "no such file")
    assert python("import os; os.kill(os.getpid(), 9)", tmp_path).status == -9


def test_at_its_limit_a_command_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    ended = python(code, tmp_path, timeout_s=1.5)
    assert ended.status is None
    assert 1.5 <= ended.seconds < PATIENCE_S
    assert has_died(int(ended.last_lines[0]))


def test_a_child_that_is_left_behind_is_killed_and_not_waited_for(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)']).pid)"
    )
    ended = python(code, tmp_path)
    assert ended.status == 0
    assert has_died(int(ended.last_lines[0]))


def test_a_command_that_closes_its_output_is_followed_to_its_end(tmp_path: Path) -> None:
    code = "import os, sys, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(7)"
    assert python(code, tmp_path).status == 7


def test_a_command_is_given_up_when_it_is_told_to(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(InterruptedError, match="the command was given up"):
        python("import time; time.sleep(600)", tmp_path, stop=stop)
    assert time.monotonic() - begun < PATIENCE_S


def test_endless_output_stays_small_and_keeps_its_end(tmp_path: Path) -> None:
    code = "import sys\nfor n in range(60_000): print('x' * 60, n)\nprint('the end')"
    ended = python(code, tmp_path)
    assert ended.last_lines[-2:] == (f"{'x' * 60} 59999", "the end")
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert 2**19 <= sum(sizes) <= 2**20


def test_a_log_within_its_bound_is_kept_whole(tmp_path: Path) -> None:
    with BoundedLog(tmp_path / "log", most_bytes=20) as log:
        for text in (b"12345", b"6789\n", b"abc"):
            log.write(text)
    assert (tmp_path / "log.old").read_bytes() + (tmp_path / "log").read_bytes() == b"123456789\nabc"
    with BoundedLog(tmp_path / "log", most_bytes=20) as log:
        log.write(b"begun anew")
        assert log.last_lines() == ("begun anew",)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_output_that_finds_no_room_ends_the_command_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        python("import time; print('hello', flush=True); time.sleep(600)", tmp_path, log=Path("/dev/full"))


def test_a_program_that_is_not_there_is_told_by_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_process(["no-such-program"], folder=tmp_path, environment={}, log=tmp_path / "log", timeout_s=1.0)
