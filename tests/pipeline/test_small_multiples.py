from pathlib import Path

import numpy as np
import pytest

from pipeline.plots import COLOURS, Curves
from pipeline.small_multiples import Panel, panels_picture


def curves(level: float, diverges_at: int | None = None) -> Curves:
    steps = np.arange(20.0)
    losses = np.tile(level + np.exp(-steps / 5), (3, 1))
    if diverges_at is not None:
        losses[:, diverges_at:] = np.nan
    return steps, losses, np.tile(level * np.linspace(1, 0, 20), (3, 1))


def panel(title: str, *names: str) -> Panel:
    return Panel(title=title, curves={name: curves(1.0 + place) for place, name in enumerate(names)}, rate_unit=2.0)


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return (np.asarray(imread(path))[..., :3] * 255).round().astype(int)


def has_colour(picture: np.ndarray, colour: str) -> bool:
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return bool((picture == wanted).all(axis=-1).any())


@pytest.mark.parametrize("what", ["rates", "losses"])
def test_every_panel_has_a_line_of_each_name_in_its_colour(what: str, tmp_path: Path) -> None:
    panels = [panel(f"workload {number}", "ours", "linear", "cosine") for number in range(4)]
    path = panels_picture(tmp_path / "a.png", "Rates", panels, what=what, note="a note")  # type: ignore[arg-type]
    picture = pixels(path)
    height, width, _ = picture.shape
    # Three panels above and one below, in their columns; the legend lies above them all.
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0)):
        top = int(height * (0.16 + 0.4 * row))
        cell = picture[top : top + int(0.4 * height), width * column // 3 : width * (column + 1) // 3]
        assert all(has_colour(cell, colour) for colour in COLOURS[:3])
    assert not any(has_colour(picture[int(0.6 * height) :, width * 2 // 3 :], colour) for colour in COLOURS[:3])
    assert path.stat().st_size < 300_000


def test_run_that_diverged_is_drawn_up_to_where_it_did(tmp_path: Path) -> None:
    panels = [Panel(title="a", curves={"ours": curves(1.0), "high": curves(1.05, diverges_at=8)})]
    path = panels_picture(tmp_path / "a.png", "Losses", panels, what="losses", note="")
    picture = pixels(path)
    below_the_legend = picture[int(0.3 * len(picture)) :]
    assert has_colour(below_the_legend, COLOURS[0])
    half = below_the_legend.shape[1] // 2
    assert has_colour(below_the_legend[:, :half], COLOURS[1])
    assert not has_colour(below_the_legend[:, half:], COLOURS[1])


def test_panels_that_differ_in_their_curves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have a panel, got none"):
        panels_picture(tmp_path / "a.png", "", [], what="rates", note="")
    panels = [panel("first", "ours", "linear"), panel("second", "linear", "ours")]
    with pytest.raises(ValueError, match=r"in one order, got \['ours', 'linear'\] first and others in second"):
        panels_picture(tmp_path / "a.png", "", panels, what="rates", note="")
    with pytest.raises(ValueError, match="the same 1 to 7 curves"):
        panels_picture(tmp_path / "a.png", "", [panel("many", *"abcdefgh")], what="rates", note="")
