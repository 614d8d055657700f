from pathlib import Path

import numpy as np
import pytest

from pipeline.matrix_datasets import grey_picture, orl_faces, reuters_counts

PIXELS = bytes([10, 20, 13, 10, 255, 0])


def test_reuters_counts_are_those_of_the_corpus_with_the_most_frequent_word_first() -> None:
    counts = reuters_counts()["counts"]
    assert counts.shape == (395, 4258)
    assert int(counts.sum()) == 84010
    assert counts.sum(axis=0)[:3].tolist() == [630, 534, 367]
    assert bool((np.diff(counts.sum(axis=0).astype(int)) <= 0).all())


def test_faces_are_those_that_can_be_read_to_the_byte() -> None:
    faces = orl_faces()["faces"]
    assert faces.shape == (398, 112, 92)
    assert faces[0, 0, :5].tolist() == [48, 49, 45, 47, 49]


@pytest.mark.parametrize(
    "content",
    [b"P5\n3 2\n255\n" + PIXELS, (b"P5\n3 2\n255\n" + PIXELS).replace(b"\n", b"\r\n")],
    ids=["whole", "transferred as text"],
)
def test_a_picture_is_read_as_it_was_taken(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "face.pgm"
    path.write_bytes(content)
    assert grey_picture(path).tolist() == [[10, 20, 13], [10, 255, 0]]


def test_a_picture_that_lacks_a_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "face.pgm"
    path.write_bytes(b"P5\n3 2\n255\n" + PIXELS[1:])
    with pytest.raises(ValueError, match=r"grey PGM of 3 x 2 bytes, got b'P5', depth b'255' and 5 in .*face.pgm"):
        grey_picture(path)
