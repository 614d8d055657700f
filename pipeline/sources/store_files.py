"""Read one small file of a file store: whole, without ever waiting, and never a pointer in place of its content."""

import os
import stat
from typing import Final

_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"


class UnusableFileError(Exception):
    """A file of a store cannot be used. The message is the reason alone."""


def read_whole(path: str) -> bytes:
    """Return the bytes of a regular file in four system calls, which are what a network drive makes one wait for.

    Raises
    ------
    UnusableFileError
        It is missing, may not be read, is a folder, a pipe or a device, or git LFS has left its pointer there.
    """
    try:
        # A pipe in the place of a file would otherwise be waited for until somebody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = _read(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnusableFileError(f"cannot be opened: {error.strerror}") from error
    if content.startswith(_LFS_POINTER):
        raise UnusableFileError("a pointer of git LFS, not the file; fetch it with `git lfs pull`")
    return content


def _read(descriptor: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFileError("not a regular file")
    parts = []
    # One byte more than the file had: a short answer is then the end, and no second read has to find it.
    wanted = status.st_size + 1
    while len(part := os.read(descriptor, wanted)) == wanted:
        parts.append(part)
    return b"".join([*parts, part])
