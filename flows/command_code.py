"""A hash of what a command is made of: another script or configuration beside it is another training."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flows.workload_code import code_hash
from pipeline.training_command import TrainingCommand, split_command

# A larger file is data, which does not count, nor is it read through at every refresh.
MOST_BYTES = 2**20


def command_hash(command: TrainingCommand, root: Path) -> str:
    """Return a hash of the files of the repository that a command names, and of what those in Python import from it.

    Returns
    -------
    str
        16 hexadecimal digits; "" where the command names no such file.
    """
    arguments = split_command(command.template)
    hashes = []
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if before == "-m" or (argument.endswith(".py") and _is_inside(root, argument)):
            hashes.append(code_hash(argument, root))
        elif _is_inside(root, argument) and (root / argument).stat().st_size <= MOST_BYTES:
            hashes.append(hashlib.sha256((root / argument).read_bytes()).hexdigest())
    found = [each for each in hashes if each]
    return hashlib.sha256("".join(found).encode()).hexdigest()[:16] if found else ""


def _is_inside(root: Path, argument: str) -> bool:
    """Say whether an argument is a file of the repository; a link out of it (an environment's Python) is not."""
    path = (root / argument).resolve()
    return path.is_file() and path.is_relative_to(root.resolve())
