"""Data sets of the reference workloads: from packages to `.npz` files named by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.image_datasets import mnist_all, mnist_digits
from pipeline.matrix_datasets import orl_faces, reuters_counts
from pipeline.table_datasets import (
    breast_cancer,
    diabetes,
    diamonds,
    friedman,
    noisy_quadratic,
    optical_digits,
    wine,
)
from pipeline.text_datasets import imdb_characters, imdb_words, python_characters, rotten_tomatoes_words

Arrays = Mapping[str, NDArray[Any]]


def prepare(name: str, folder: Path) -> Path:
    """Return the file `folder/name-<hash>.npz` of a data set, written if it is not there yet.

    The hash is of the arrays, so a package that ships other data gives another file.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in DATASETS:
        raise ValueError(f"a data set must be one of {', '.join(map(repr, sorted(DATASETS)))}, got {name!r}")
    arrays = DATASETS[name]()
    path = folder / f"{name}-{content_hash(arrays)}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        partial.replace(path)
    return path


def content_hash(arrays: Arrays) -> str:
    """Return 16 hexadecimal digits that name, shape, type and content of the arrays determine."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


DATASETS: dict[str, Callable[[], Arrays]] = {
    "mnist_digits": mnist_digits,
    "mnist_all": mnist_all,
    "reuters_counts": reuters_counts,
    "orl_faces": orl_faces,
    "breast_cancer": breast_cancer,
    "optical_digits": optical_digits,
    "wine": wine,
    "diamonds": diamonds,
    "diabetes": diabetes,
    "friedman": friedman,
    "imdb_words": imdb_words,
    "rotten_tomatoes_words": rotten_tomatoes_words,
    "imdb_characters": imdb_characters,
    "python_characters": python_characters,
    "noisy_quadratic": noisy_quadratic,
}
