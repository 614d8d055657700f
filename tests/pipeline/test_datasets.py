from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import content_hash, prepare


def test_prepared_digits_are_named_by_their_content_and_written_once(tmp_path: Path) -> None:
    path = prepare("mnist_digits", tmp_path / "data")
    written = path.stat().st_mtime_ns
    assert path.name == "mnist_digits-9a2cfa1d71824a2c.npz"
    assert prepare("mnist_digits", tmp_path / "data") == path
    assert path.stat().st_mtime_ns == written
    assert [file.name for file in (tmp_path / "data").iterdir()] == [path.name]
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["images"].shape == (5000, 784)
        assert arrays["images"].max() == 255
        assert np.bincount(arrays["labels"]).tolist() == [500] * 10


def test_content_hash_tells_shape_type_and_name_apart() -> None:
    ones = np.ones(4, dtype=np.uint8)
    hashes = {
        content_hash({"a": ones}),
        content_hash({"b": ones}),
        content_hash({"a": ones.reshape(2, 2)}),
        content_hash({"a": ones.astype(np.int8)}),
        content_hash({"a": ones * 2}),
    }
    assert len(hashes) == 5


def test_unknown_data_set_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a data set must be one of 'mnist_digits', got 'cifar'"):
        prepare("cifar", tmp_path / "data")
    assert not (tmp_path / "data").exists()
