import sysconfig
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.python_modules import MODULES
from pipeline.text_datasets import (
    Review,
    encoded_characters,
    hashed_words,
    plain_text,
    python_characters,
)


def _hash(word: str) -> int:
    return 1 + zlib.crc32(word.encode()) % 65535


def test_review_sets_are_named_by_their_content(reference_file: Callable[[str], Path]) -> None:
    prepared = [reference_file(name) for name in ("imdb_words", "imdb_characters", "rotten_tomatoes_words")]
    assert [path.name for path in prepared] == [
        "imdb_words-f7a38d2a61162b23.npz",
        "imdb_characters-bb365c0cb8484f0c.npz",
        "rotten_tomatoes_words-70cd81d6e1ea1622.npz",
    ]
    # A job's folder holds a copy of its data.
    assert max(path.stat().st_size for path in prepared) < 4e6
    words, characters, sentences = (dict(np.load(path, allow_pickle=False)) for path in prepared)
    assert words["words"].shape == (12_000, 192)
    assert sentences["words"].shape == (8_530, 48)
    assert (words["labels"].mean(), sentences["labels"].mean()) == pytest.approx((0.5, 0.5), abs=0.01)
    assert len(characters["lengths"]) == 4_000
    assert characters["lengths"].sum() == len(characters["characters"])


def test_no_review_is_there_twice(reference_data: Callable[[str], Mapping[str, Any]]) -> None:
    arrays = reference_data("imdb_characters")
    letters = arrays["characters"].tobytes()
    ends = np.cumsum(arrays["lengths"])
    reviews = {letters[end - length : end] for end, length in zip(ends, arrays["lengths"], strict=True)}
    assert len(reviews) == len(arrays["lengths"])


def test_python_source_can_be_read_back(reference_data: Callable[[str], Mapping[str, Any]]) -> None:
    arrays = reference_data("python_characters")
    assert len(arrays["lengths"]) == len(MODULES) == 143
    place = MODULES.index("heapq.py")
    start = arrays["lengths"][:place].sum()
    letters = arrays["alphabet"][arrays["characters"][start : start + arrays["lengths"][place]]]
    written = (Path(sysconfig.get_path("stdlib")) / "heapq.py").read_text(encoding="utf-8")
    assert bytes(letters).decode() == "".join(letter for letter in written if letter == "\n" or " " <= letter <= "~")


def test_a_python_without_its_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MODULES[:-1]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"must lie in {tmp_path}, got none for {MODULES[-1]}; prepare"):
        python_characters()


def test_words_are_hashed_by_their_first_letters_and_padded() -> None:
    reviews = [
        Review("Wonderfully  <br />odd!", True),
        Review("...", False),
        Review("don't watch 9 of them", False),
    ]
    arrays = hashed_words(reviews, 4)
    assert arrays["words"].tolist() == [
        [_hash("wonder"), _hash("odd"), _hash("!"), 0],
        [_hash("don't"), _hash("watch"), _hash("9"), _hash("of")],
    ]
    assert arrays["labels"].tolist() == [1, 0]


def test_plain_text_has_neither_markup_nor_accents_nor_capitals() -> None:
    assert plain_text("Amélie,<br /><br />a\tTRIUMPH  ") == "amelie, a triumph"


def test_characters_outside_the_alphabet_are_left_out() -> None:
    arrays = encoded_characters(["abc", "", "bxé"], "abx")
    assert arrays["characters"].tolist() == [0, 1, 1, 2]
    assert arrays["lengths"].tolist() == [2, 0, 2]
    assert bytes(arrays["alphabet"]) == b"abx"
