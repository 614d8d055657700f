"""A hash of a user's code, read and never executed: a result counts only as long as the code that gave it is the same.

The standard library's modulefinder does nearly this, but fails at packages without `__init__.py`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path


def code_hash(place: str, root: Path) -> str:
    """Return a hash of a user's module or file and of all that it imports from the repository.

    What stands outside the repository, and what is no Python (a data file), does not count.

    Parameters
    ----------
    place
        "module" or "path/file.py".
    root
        The repository.

    Returns
    -------
    str
        16 hexadecimal digits; "" where there is no such code, of which the child process says more.
    """
    root = root.resolve()
    if place.endswith(".py"):
        file = root / place
        waiting = [file] if file.is_file() else []
        folders = (root, file.parent)
    else:
        waiting = list(_files_of(place, root))
        folders = (root, root)
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imported(file, folders)
    digest = hashlib.sha256()
    for file in sorted(found):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16] if found else ""


def _imported(file: Path, folders: tuple[Path, Path]) -> Iterator[Path]:
    """Yield the files in some folders that a file imports, wherever in it the import stands."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                for folder in folders:
                    yield from _files_of(name.name, folder)
        elif isinstance(node, ast.ImportFrom):
            starts = folders if node.level == 0 else (file.parents[node.level - 1],)
            # What is imported from a package may be a module of it.
            for name in node.names:
                for folder in starts:
                    yield from _files_of(f"{node.module}.{name.name}" if node.module else name.name, folder)


def _files_of(module: str, folder: Path) -> Iterator[Path]:
    """Yield the files that Python reads to import a module from a folder: its packages', and its own."""
    for part in module.split("."):
        for file in (folder / f"{part}.py", folder / part / "__init__.py"):
            if file.is_file():
                yield file
        folder /= part
