"""Data sets of numbers: `inputs` (n, n_inputs) and `targets` (n,); and what the noisy quadratic is drawn from."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.package_files import package_file

Arrays = dict[str, NDArray[Any]]

DIAMONDS = ("plotnine", "0.15.0", "plotnine/data/diamonds.csv")
# From the worst to the best.
GRADES = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("J", "I", "H", "G", "F", "E", "D"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}
MEASURES = ("carat", "depth", "table", "x", "y", "z")

FRIEDMAN_ROWS = 6000
FRIEDMAN_NOISE = 1.0  # the deviation in Friedman's own experiments; that of the function is 4.9

QUADRATIC_CENTRES = 8000
QUADRATIC_CURVATURES = (1e-3, 1.0, 32)  # least, largest, how many
QUADRATIC_NOISE = 0.2  # standard deviation of a centre, times the root of the curvature


def breast_cancer() -> Arrays:
    """Return 569 tumours by 30 measurements; the target is 1 where benign."""
    from sklearn.datasets import load_breast_cancer

    return _inputs_and_targets(load_breast_cancer, np.uint8)


def optical_digits() -> Arrays:
    """Return 1,797 digits of 8 x 8 pixels in 0 .. 16, and which they are."""
    from sklearn.datasets import load_digits

    return _inputs_and_targets(load_digits, np.uint8)


def wine() -> Arrays:
    """Return 178 wines by 13 measurements, and which of three growers made them."""
    from sklearn.datasets import load_wine

    return _inputs_and_targets(load_wine, np.uint8)


def diabetes() -> Arrays:
    """Return 442 patients by 10 measurements, and how far the disease went in a year."""
    from sklearn.datasets import load_diabetes

    return _inputs_and_targets(load_diabetes, np.float32)


def friedman() -> Arrays:
    """Return 6,000 rows of ten uniform numbers and Friedman's function of five of them, with noise.

    10 sin(π x1 x2) + 20 (x3 - ½)² + 10 x4 + 5 x5 + noise (Friedman 1991, section 4.3).
    """
    from sklearn.datasets import make_friedman1

    inputs, targets = make_friedman1(FRIEDMAN_ROWS, noise=FRIEDMAN_NOISE, random_state=0)
    return {"inputs": inputs.astype(np.float32), "targets": targets.astype(np.float32)}


@cache
def diamonds() -> Arrays:
    """Return 53,595 diamonds by 6 measures and 3 grades, and the logarithm of the price in dollars.

    Of those alike in all of them the first is kept: the package lists 345 stones again, some at another price, and left
    in they would stand on both sides of a split.

    Raises
    ------
    ValueError
        If the package that ships them is not installed.
    """
    with package_file(*DIAMONDS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    measures = [[float(row[name]) for row in rows] for name in MEASURES]
    grades = [[float(order.index(row[name])) for row in rows] for name, order in GRADES.items()]
    inputs = np.array([*measures, *grades], dtype=np.float32).T
    prices = np.array([float(row["price"]) for row in rows])
    kept = np.sort(np.unique(inputs, axis=0, return_index=True)[1])
    return {"inputs": inputs[kept], "targets": np.log(prices[kept]).astype(np.float32)}


def noisy_quadratic() -> Arrays:
    """Return `curvatures` (32,) on a logarithmic grid; normal `centres` (8000, 32) of variance 0.04 / curvature."""
    curvatures = np.geomspace(*QUADRATIC_CURVATURES)
    drawn = np.random.default_rng(0).standard_normal((QUADRATIC_CENTRES, len(curvatures)))
    centres = drawn * QUADRATIC_NOISE / np.sqrt(curvatures)
    return {"curvatures": curvatures.astype(np.float32), "centres": centres.astype(np.float32)}


def _inputs_and_targets(load: Callable[..., tuple[Any, Any]], targets: type[np.generic]) -> Arrays:
    inputs, values = load(return_X_y=True)
    return {"inputs": np.asarray(inputs, dtype=np.float32), "targets": np.asarray(values, dtype=targets)}
