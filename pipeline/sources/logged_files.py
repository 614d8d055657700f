"""Read many small files of a file store by several threads, in their order and in groups that fit into memory."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from pipeline.sources.run_folders import text_of
from pipeline.sources.store_files import UnusableFileError, read_whole

_BYTES_PER_GROUP: Final = 16 * 1024**2
_FILES_PER_GROUP: Final = 8192
# A task that reads one local file takes as long to hand over as to do.
_FILES_PER_TASK: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedFile:
    """A file of a run below its `metrics`, `params` or `tags`, by its name on the disk; 0 where its size is unknown."""

    run_uuid: str
    run_path: str
    part: str
    name: str
    size: int = 0

    @property
    def key(self) -> str:
        """What was logged under which name."""
        return text_of(self.name)


def groups(files: Sequence[LoggedFile]) -> Iterator[Sequence[LoggedFile]]:
    """Cut the files into groups of at most 8,192 files and 16 MiB, a larger file alone."""
    start, size = 0, 0
    for position, file in enumerate(files):
        if position > start and (size + file.size > _BYTES_PER_GROUP or position - start == _FILES_PER_GROUP):
            yield files[start:position]
            start, size = position, 0
        size += file.size
    if start < len(files):
        yield files[start:]


def contents(files: Sequence[LoggedFile], pool: Executor) -> Iterator[bytes | UnusableFileError]:
    """Read the files, in their order; one that cannot be used gives its reason."""
    tasks = (files[start : start + _FILES_PER_TASK] for start in range(0, len(files), _FILES_PER_TASK))
    for read in pool.map(_read_all, tasks):
        yield from read


def _read_all(files: Sequence[LoggedFile]) -> list[bytes | UnusableFileError]:
    return [_content_or_reason(f"{file.run_path}/{file.part}/{file.name}") for file in files]


def _content_or_reason(path: str) -> bytes | UnusableFileError:
    try:
        return read_whole(path)
    except UnusableFileError as error:
        return error
