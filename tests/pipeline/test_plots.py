import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from pipeline.plots import COLOURS, Curves, group_picture

WHITE = (255, 255, 255)


def curves(seeds: int = 5, points: int = 40, *, rate: float = 0.1, diverges_at: int | None = None) -> Curves:
    generator = np.random.default_rng(0)
    steps = np.arange(0.0, 10 * points, 10)
    losses = np.exp(-steps / 100) + 0.1 + 0.02 * generator.random((seeds, points))
    if diverges_at is not None:
        losses[:, diverges_at:] = np.inf
    return steps, losses, np.tile(np.linspace(rate, 0, points), (seeds, 1))


def size_of(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def pixels_of(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return (np.asarray(imread(path))[..., :3] * 255).round().astype(int)


def colours_in(path: Path) -> set[tuple[int, int, int]]:
    values = np.unique(pixels_of(path).reshape(-1, 3), axis=0)
    return {(int(red), int(green), int(blue)) for red, green, blue in values}


def panels_of(path: Path) -> int:
    """The number of vertical axes: columns of pixels that are mostly of an axis' grey, beside none that are."""
    grey = np.array(as_bytes("#999999"))
    is_axis = (np.abs(pixels_of(path) - grey).max(axis=2) < 60).mean(axis=0) > 0.5
    return int(np.sum(is_axis[1:] & ~is_axis[:-1]))


def as_bytes(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def test_a_picture_is_a_png_of_150_dots_an_inch_with_every_curve_in_its_colour(tmp_path: Path) -> None:
    names = ("champion", "cosine", "linear", "constant")
    drawn = {name: curves(rate=0.1 * (index + 1)) for index, name in enumerate(names)}
    path = group_picture(tmp_path / "group.png", "mnist-mlp-sgd", drawn)
    assert path == tmp_path / "group.png"
    assert size_of(path) == (1650, 690)
    found = colours_in(path)
    assert {as_bytes(colour) for colour in COLOURS[:4]} <= found
    assert as_bytes(COLOURS[4]) not in found
    assert WHITE in found


@pytest.mark.parametrize(
    "drawn",
    [
        {"one seed": curves(seeds=1)},
        {"one point": curves(points=1)},
        {"diverged": curves(diverges_at=10), "well": curves()},
        {"never lived": curves(diverges_at=0)},
        {"constant loss": (np.arange(3.0), np.zeros((2, 3)), np.full((2, 3), 0.1))},
        {"negative loss": (np.arange(3.0), np.array([[-1.0, -2.0, -3.0]]), np.zeros((1, 3)))},
    ],
    ids=lambda drawn: next(iter(drawn)),
)
def test_hard_curves_are_drawn_without_a_warning(tmp_path: Path, drawn: dict[str, Curves]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = group_picture(tmp_path / "group.png", "hard", drawn)
    assert size_of(path) == (1650, 690)


def test_where_no_rate_is_known_the_losses_are_drawn_alone(tmp_path: Path) -> None:
    steps, losses, rates = curves()
    given = {"champion": (steps, losses, np.full_like(rates, np.nan))}
    alone = group_picture(tmp_path / "alone.png", "command", given)
    beside = group_picture(tmp_path / "beside.png", "command", {"champion": (steps, losses, rates)})
    assert [panels_of(path) for path in (alone, beside)] == [1, 2]


def test_the_curves_are_not_changed(tmp_path: Path) -> None:
    given = curves(diverges_at=20)
    before = [part.copy() for part in given]
    group_picture(tmp_path / "group.png", "title", {"champion": given})
    for part, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_curves_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    steps, losses, rates = curves()
    with pytest.raises(ValueError, match=r"got \(39,\), \(5, 40\) and \(5, 40\) for 'champion'"):
        group_picture(tmp_path / "group.png", "title", {"champion": (steps[1:], losses, rates)})
    with pytest.raises(ValueError, match="a picture holds 1 to 7 curves, got 0"):
        group_picture(tmp_path / "group.png", "title", {})
    assert list(tmp_path.iterdir()) == []


def test_labels_that_touch_are_moved_apart_as_little_as_that_takes() -> None:
    from pipeline.plots import _apart

    assert _apart([0.1, 0.5], [0.1, 0.1]) == [0.1, 0.5]
    assert _apart([0.5, 0.5], [0.1, 0.1]) == pytest.approx([0.45, 0.55])
    assert _apart([0.5, 0.5, 0.5], [0.1, 0.1, 0.1]) == pytest.approx([0.4, 0.5, 0.6])
    assert _apart([0.0, 0.5, 0.52], [0.1, 0.1, 0.1]) == pytest.approx([0.0, 0.46, 0.56])
    assert _apart([0.5, 0.5], [0.1, 0.3]) == pytest.approx([0.4, 0.6])
