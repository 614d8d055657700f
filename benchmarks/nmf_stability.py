"""The largest stable rates of matrix factorisation from both sides: what happens at multiples of each bound.

    python benchmarks/nmf_stability.py

Thirty random instances of 60 x 40, rank 5, from uniform factors, each way of training (`models/nmf`) at a quarter of
its bound up to twice: the share of steps that raise the loss, and the loss that is left after them (for batches its
distance to the optimum). Printed as a table and drawn to docs/pictures/nmf_stability.png. The bounds of full gradients
are taken anew at each step; the stochastic ones hold near the optimum of one factor with the other one fixed, so that
is what is trained there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from models.nmf import alternating, expected_descent, simultaneous, stochastic  # noqa: E402
from models.nmf.factorisation import Floats, gradients, half_squared_error  # noqa: E402
from models.nmf.stochastic import SecondMoment  # noqa: E402
from pipeline.plots import COLOURS, DASHES, DOTS_PER_INCH, INK  # noqa: E402

ROWS, COLUMNS, RANK = 60, 40, 5
INSTANCES = 30
STEPS = 200
BATCH = 15
FACTORS = (0.25, 0.5, 0.75, 0.95, 1.0, 1.05, 1.25, 1.5, 2.0)
PICTURE = ROOT / "docs" / "pictures" / "nmf_stability.png"
# A loss this far above the first one never comes back; going on would only overflow.
LOST = 1e6
ROUNDING = 1e-12


@dataclass(frozen=True)
class Instance:
    """A matrix near a product of rank 5, initial factors, and what draws batches."""

    values: Floats
    loadings: Floats
    parts: Floats
    generator: np.random.Generator

    @classmethod
    def of(cls, seed: int) -> Instance:
        """Return the instance of a seed."""
        generator = np.random.default_rng(seed)
        product = generator.random((ROWS, RANK)) @ generator.random((RANK, COLUMNS))
        values = product + 0.1 * generator.random((ROWS, COLUMNS))
        return cls(values, generator.random((ROWS, RANK)), generator.random((RANK, COLUMNS)), generator)


@dataclass(frozen=True)
class Outcome:
    """Share of steps that raised the loss, and the last loss over the first; infinite if lost, NaN if no run."""

    rises: float
    loss: float


Case = Callable[[Instance, float], Outcome]


def outcome(losses: list[float]) -> Outcome:
    """Return what became of a path of losses."""
    path = np.array(losses)
    rises = float(np.mean(np.diff(path) > ROUNDING * path[:-1]))
    return Outcome(rises, float(path[-1] / path[0]) if path[-1] < LOST * path[0] else float("inf"))


def goes_on(losses: list[float], *factors: Floats) -> bool:
    """Say whether a run has steps left, and neither lost its way nor been projected to zero, where nothing moves."""
    return len(losses) <= STEPS and losses[-1] < LOST * losses[0] and all(factor.any() for factor in factors)


def in_turn(instance: Instance, factor: float) -> Outcome:
    """Train one factor after the other, projected."""
    loadings, parts = instance.loadings, instance.parts
    losses = [half_squared_error(instance.values, loadings, parts)]
    while goes_on(losses, loadings, parts):
        if len(losses) % 2:
            rate = factor * alternating.largest_stable_learning_rate(parts)
            loadings = np.maximum(loadings - rate * gradients(instance.values, loadings, parts)[0], 0)
        else:
            rate = factor * alternating.largest_stable_learning_rate(loadings)
            parts = np.maximum(parts - rate * gradients(instance.values, loadings, parts)[1], 0)
        losses.append(half_squared_error(instance.values, loadings, parts))
    return outcome(losses)


def at_once(bound: Callable[[Floats, Floats, Floats], float], *, project: bool) -> Case:
    """Return what trains both factors at once, at multiples of a bound."""

    def trained(instance: Instance, factor: float) -> Outcome:
        loadings, parts = instance.loadings, instance.parts
        losses = [half_squared_error(instance.values, loadings, parts)]
        while goes_on(losses, loadings, parts):
            rate = factor * bound(instance.values, loadings, parts)
            first, second = gradients(instance.values, loadings, parts)
            loadings, parts = loadings - rate * first, parts - rate * second
            if project:
                loadings, parts = np.maximum(loadings, 0), np.maximum(parts, 0)
            losses.append(half_squared_error(instance.values, loadings, parts))
        return outcome(losses)

    return trained


def batches_of_rows(batch_size: int) -> Case:
    """Return what trains the parts alone at a constant rate with batches of rows, unprojected."""

    def trained(instance: Instance, factor: float) -> Outcome:
        moment = SecondMoment.of_drawn_terms(batch_size, ROWS)
        rate = factor * stochastic.largest_stable_learning_rate(instance.loadings, moment)
        # The distance to the optimum, and not the loss, whose floor is the noise of batches.
        best = np.asarray(np.linalg.lstsq(instance.loadings, instance.values, rcond=None)[0], dtype=np.float64)
        parts, floor = instance.parts, half_squared_error(instance.values, instance.loadings, best)
        generator = np.random.default_rng(instance.generator.integers(2**31))
        losses = [half_squared_error(instance.values, instance.loadings, parts) - floor]
        while goes_on(losses, parts):
            rows = generator.choice(ROWS, batch_size, replace=False)
            _, gradient = gradients(instance.values[rows], instance.loadings[rows], parts)
            parts = parts - rate * ROWS / batch_size * gradient
            losses.append(half_squared_error(instance.values, instance.loadings, parts) - floor)
        return outcome(losses)

    return trained


def mean_of_batches(instance: Instance, factor: float) -> Outcome:
    """Take the mean loss over many batches, each one step from where the run stands, and go on by the full gradient."""
    parts, rises = instance.parts, []
    loss = half_squared_error(instance.values, instance.loadings, parts)
    for _ in range(10):
        bound = expected_descent.largest_stable_learning_rate(
            instance.values, instance.loadings, parts, batch_size=BATCH
        )
        after = []
        for _ in range(200):
            rows = instance.generator.choice(ROWS, BATCH, replace=False)
            _, gradient = gradients(instance.values[rows], instance.loadings[rows], parts)
            step = factor * bound * ROWS / BATCH * gradient
            after.append(half_squared_error(instance.values, instance.loadings, parts - step))
        rises.append(float(np.mean(after)) > loss)
        parts = parts - bound / 2 * gradients(instance.values, instance.loadings, parts)[1]
        loss = half_squared_error(instance.values, instance.loadings, parts)
    return Outcome(float(np.mean(rises)), float("nan"))


CASES: dict[str, Case] = {
    "alternating, projected": in_turn,
    "simultaneous, safe bound, projected": at_once(simultaneous.largest_stable_learning_rate, project=True),
    "simultaneous, first rise, unprojected": at_once(simultaneous.first_rise, project=False),
    "batches of 1 row, mean square": batches_of_rows(1),
    f"batches of {BATCH} rows, mean square": batches_of_rows(BATCH),
    f"batches of {BATCH} rows, mean of 200": mean_of_batches,
}


def measured(instances: int) -> dict[str, dict[float, list[Outcome]]]:
    """Return the outcomes of every case at every factor."""
    return {
        name: {factor: [case(Instance.of(seed), factor) for seed in range(instances)] for factor in FACTORS}
        for name, case in CASES.items()
    }


def print_table(outcomes: Mapping[str, Mapping[float, list[Outcome]]]) -> None:
    """Write the share of steps that raise the loss, and the median loss that is left."""
    sys.stdout.write(f"{'times the bound':<40}" + "".join(f"{factor:>9g}" for factor in FACTORS) + "\n")
    for name, by_factor in outcomes.items():
        rises = "".join(f"{np.mean([each.rises for each in of_factor]):9.1%}" for of_factor in by_factor.values())
        losses = "".join(f"{np.median([each.loss for each in of_factor]):9.2g}" for of_factor in by_factor.values())
        sys.stdout.write(f"{name:<40}{rises}\n{'  loss left, median':<40}{losses}\n")


def draw(outcomes: Mapping[str, Mapping[float, list[Outcome]]], path: Path) -> None:
    """Draw shares and losses side by side, one line a case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 5.4), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    title = "Matrix factorisation at multiples of its largest stable rate"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    rises, losses = figure.subplots(1, 2)
    for place, (name, by_factor) in enumerate(outcomes.items()):
        style = {"color": COLOURS[place], "linestyle": DASHES[place], "linewidth": 1.8, "label": name}
        rises.plot(FACTORS, [100 * np.mean([each.rises for each in of]) for of in by_factor.values()], **style)
        medians = np.array([np.median([each.loss for each in of]) for of in by_factor.values()])
        losses.plot(FACTORS, medians, **style)
        if np.isinf(medians).any():
            last = int(np.isinf(medians).argmax()) - 1
            losses.plot(FACTORS[last], medians[last], marker="x", markersize=7, color=COLOURS[place])
    rises.set_title("Steps that raise the loss, %", loc="left", fontsize=10.5, color=INK)
    losses.set_title(
        "Loss left, in multiples of the first (x: lost at the next rate)", loc="left", fontsize=10.5, color=INK
    )
    losses.set_yscale("log")
    losses.set_ylim(1e-3, 1e2)
    for axes in (rises, losses):
        axes.axvline(1.0, color="#999999", linewidth=1.0, zorder=0)
        axes.set_xlabel("rate in multiples of the bound", fontsize=9, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    figure.legend(*rises.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=8.5, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=INSTANCES)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    outcomes = measured(arguments.instances)
    print_table(outcomes)
    draw(outcomes, arguments.picture)
    sys.stdout.write(f"{arguments.picture}\n")


if __name__ == "__main__":
    main()
