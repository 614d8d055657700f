"""The known faults of the GreedyLR and ReduceLROnPlateau that people have, beside what ours does; one test each."""

import io
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

import greedylr
from greedylr import GreedyLR, GreedyLRParameters, load_preset

optimization = pytest.importorskip("transformers.optimization", reason="transformers is not installed")
if not hasattr(optimization, "GreedyLR"):
    pytest.skip("transformers has GreedyLR from 5.4.0 on; this one is older", allow_module_level=True)

ROOT = Path(greedylr.__file__).parent.parent


def optimizer_at(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def last_rate(scheduler: Any, losses: list[float]) -> float:
    for loss in losses:
        scheduler.step(loss)
    return float(scheduler.optimizer.param_groups[0]["lr"])


FALLING = [1000.0 - step for step in range(1000)]
RISING = [float(step) for step in range(1000)]


def test_bounds_that_are_absolute_let_a_small_rate_climb_far_and_never_fall() -> None:
    # Theirs: from 5e-5 the default lower bound of 1e-3 forbids every lowering, the upper one of 1 a 20,000-fold climb.
    assert last_rate(optimization.GreedyLR(optimizer_at(5e-5)), RISING) == 5e-5
    assert last_rate(optimization.GreedyLR(optimizer_at(5e-5)), FALLING[:1000]) == pytest.approx(5.1e-3, rel=0.01)
    # Ours: a thousandth to ten times the start, wherever it is.
    assert last_rate(GreedyLR(optimizer_at(5e-5)), RISING) == pytest.approx(5e-7, rel=0.05)
    assert last_rate(GreedyLR(optimizer_at(5e-5)), FALLING) == pytest.approx(5e-4)


def test_one_nan_makes_every_later_step_of_a_smoothed_run_a_bad_one() -> None:
    losses = [math.nan, *FALLING[:60]]
    arguments: dict[str, Any] = {"factor": 0.5, "patience": 4, "smooth": True, "window_size": 5}
    # Theirs: the sum is NaN ever after, so that a loss that falls at every step lowers the rate 12 times.
    theirs = optimization.GreedyLR(optimizer_at(0.1), min_lr=0.0, eps=0.0, **arguments)
    assert last_rate(theirs, losses) == pytest.approx(0.1 * 0.5**12)
    # Ours: one bad decision; the loss falls, and the rate rises to its bound.
    assert last_rate(GreedyLR(optimizer_at(0.1), GreedyLRParameters(**arguments)), losses) == pytest.approx(1.0)


def test_an_absolute_eps_freezes_small_rates() -> None:
    # Theirs, and torch's: from 1e-7 a step of factor 0.95 changes 5e-9 <= eps, so nothing ever changes.
    arguments: dict[str, Any] = {"factor": 0.95, "patience": 0, "min_lr": 0.0}
    assert last_rate(optimization.GreedyLR(optimizer_at(1e-7), **arguments), RISING[:11]) == 1e-7
    assert last_rate(ReduceLROnPlateau(optimizer_at(1e-7), **arguments), RISING[:11]) == 1e-7
    # Ours: the first loss sets the best, ten losses worse than it lower the rate ten times.
    ours = GreedyLR(optimizer_at(1e-7), GreedyLRParameters(factor=0.95, patience=0))
    assert last_rate(ours, RISING[:11]) == pytest.approx(1e-7 * 0.95**10)


def test_a_relative_threshold_is_inverted_by_negative_losses() -> None:
    # A likelihood that gets worse, by less than the threshold of 10 %.
    losses = [-1.0, -0.99, -0.98, -0.97]
    arguments: dict[str, Any] = {"factor": 0.5, "patience": 1, "threshold": 0.1, "threshold_mode": "rel"}
    # Theirs: each of them counts as an improvement, and the rate rises with the loss.
    assert last_rate(optimization.GreedyLR(optimizer_at(0.1), **arguments), losses) == 0.4
    # Ours: none of them does.
    assert last_rate(GreedyLR(optimizer_at(0.1), GreedyLRParameters(**arguments)), losses) == 0.05


@pytest.mark.parametrize(
    "nonsense", [{"factor": 0.0}, {"factor": -1.0}, {"patience": -5}, {"min_lr": 2.0, "max_lr": 1.0}]
)
def test_nonsense_is_accepted(nonsense: dict[str, Any]) -> None:
    optimization.GreedyLR(optimizer_at(0.1), **nonsense)
    with pytest.raises(ValueError, match=f"{'max_lr' if len(nonsense) > 1 else next(iter(nonsense))} must"):
        GreedyLRParameters(**nonsense)


def test_a_state_with_a_typo_is_accepted() -> None:
    optimization.GreedyLR(optimizer_at(0.1)).load_state_dict({"typo": 1})
    with pytest.raises(ValueError, match=r"got \['typo'\]"):
        GreedyLR(optimizer_at(0.1)).load_state_dict({"typo": 1})


def test_a_parameter_group_cannot_be_added_later() -> None:
    theirs, ours = (
        optimization.GreedyLR(optimizer_at(0.1), factor=0.5, patience=1),
        GreedyLR(optimizer_at(0.1), GreedyLRParameters(factor=0.5, patience=1)),
    )
    for scheduler in (theirs, ours):
        scheduler.step(1.0)
        scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.01})
    # Theirs knows no bounds for it, and fails when first it moves the rate.
    with pytest.raises(IndexError):
        last_rate(theirs, [2.0, 3.0])
    last_rate(ours, [2.0, 3.0])
    assert ours.get_last_lr() == [0.05, 0.005]


def test_the_first_loss_counts_as_an_improvement() -> None:
    # Theirs: it improved on infinity, and raises the rate before anything has been learned.
    assert last_rate(optimization.GreedyLR(optimizer_at(0.1), factor=0.5, patience=0), [3.0]) == 0.2
    assert last_rate(GreedyLR(optimizer_at(0.1), GreedyLRParameters(factor=0.5, patience=0)), [3.0]) == 0.1


RANK = """
import sys
import torch
import torch.distributed as dist
from greedylr import GreedyLR, GreedyLRParameters

address, rank, *losses = sys.argv[1:]
dist.init_process_group("gloo", init_method=address, rank=int(rank), world_size=2)
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
scheduler = GreedyLR(optimizer, GreedyLRParameters(factor=0.5, patience=1))
for loss in losses:
    scheduler.step(float(loss))
print(scheduler.get_last_lr())
dist.destroy_process_group()
"""


def test_ranks_with_their_own_losses_drift_apart(tmp_path: Path) -> None:
    losses = [[1.0, 0.9, 0.8, 0.7], [1.0, 1.1, 1.2, 1.3]]
    arguments: dict[str, Any] = {"factor": 0.5, "patience": 1}
    theirs = [optimization.GreedyLR(optimizer_at(0.1), **arguments) for _ in losses]
    assert [last_rate(scheduler, own) for scheduler, own in zip(theirs, losses, strict=True)] == [0.4, 0.05]
    # Ours, in two processes that train together: the mean over the ranks is 1 at each step, so nothing improves.
    rendezvous = f"file://{tmp_path}/rendezvous"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, rendezvous, str(rank), *map(str, own)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, own in enumerate(losses)
    ]
    assert [rank.communicate(timeout=100)[0].strip() for rank in ranks] == ["[0.05]", "[0.05]"]


def test_a_state_with_a_number_of_numpys_is_refused_by_a_safe_load() -> None:
    rate = np.logspace(-1, -1, 1)[0]
    theirs = io.BytesIO()
    torch.save(optimization.GreedyLR(optimizer_at(rate)).state_dict(), theirs)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(io.BytesIO(theirs.getvalue()), weights_only=True)
    ours = io.BytesIO()
    state = GreedyLR(optimizer_at(rate)).state_dict()
    torch.save(state, ours)
    assert torch.load(io.BytesIO(ours.getvalue()), weights_only=True) == state


def test_a_state_that_lost_its_counters_is_resumed_from_without_a_word() -> None:
    # What timm's scheduler writes (its pull request 2756) has no counters; theirs takes any state for a whole one.
    losses, arguments = [1.0, 2.0, 3.0], {"factor": 0.5, "patience": 2}
    theirs = optimization.GreedyLR(optimizer_at(0.1), **arguments)
    last_rate(theirs, losses)
    state = {key: value for key, value in theirs.state_dict().items() if key != "num_bad_epochs"}
    resumed = optimization.GreedyLR(optimizer_at(0.1), **arguments)
    resumed.load_state_dict(state)
    assert (last_rate(theirs, [4.0]), last_rate(resumed, [4.0])) == (0.05, 0.1)

    ours = GreedyLR(optimizer_at(0.1), GreedyLRParameters(**arguments))
    last_rate(ours, losses)
    for key in ours.state_dict():
        with pytest.raises(ValueError, match="key"):
            GreedyLR(optimizer_at(0.1)).load_state_dict({k: v for k, v in ours.state_dict().items() if k != key})
    resumed = GreedyLR(optimizer_at(0.1), GreedyLRParameters(**arguments))
    resumed.load_state_dict(ours.state_dict())
    assert last_rate(ours, [4.0]) == last_rate(resumed, [4.0]) == 0.05


def test_patience_is_one_more_than_its_documentation_says() -> None:
    # Theirs says that the rate is adjusted after `patience` epochs without improvement, and waits one more.
    assert "Number of epochs with no improvement after which learning rate will be adjusted" in " ".join(
        optimization.GreedyLR.__doc__.split()
    )
    theirs = optimization.GreedyLR(optimizer_at(0.1), factor=0.5, patience=3)
    assert [last_rate(theirs, [loss]) for loss in (1.0, 2.0, 2.0, 2.0, 2.0)] == [0.1, 0.1, 0.1, 0.1, 0.05]
    # Ours does the same under the same name, and says so.
    assert "a move follows more than `patience` decisions in a row" in " ".join(GreedyLRParameters.__doc__.split())
    ours = GreedyLR(optimizer_at(0.1), GreedyLRParameters(factor=0.5, patience=3))
    assert [last_rate(ours, [loss]) for loss in (1.0, 2.0, 2.0, 2.0, 2.0)] == [0.1, 0.1, 0.1, 0.1, 0.05]


def test_a_run_with_fewer_evaluations_than_patience_never_moves_the_rate() -> None:
    # Theirs: ten evaluations at the default patience of 10 change nothing, whatever the losses, and nobody is told.
    for losses in (FALLING[:10], RISING[:10]):
        assert last_rate(optimization.GreedyLR(optimizer_at(0.1)), losses) == 0.1
    # Ours: a preset refuses a run in which it could do nothing, and the optimizer is as it was.
    with pytest.raises(ValueError, match="evaluation"):
        load_preset("core").scheduler(optimizer_at(0.1), total_steps=1000, steps_per_evaluation=500)
