"""Whether a user's workload is the same twice and keeps its splits apart, tried with one seed before it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from greedylr.workload import Workload
from models.retraining.errors import WorkloadFailedError
from models.retraining.workload_check import same_tensors

# Operations of an accelerator may add in another order each time.
SAME_LOSS = 1e-6

Make = Callable[[], Any]


def try_workload(workload: Workload, make_again: Make, *, label: str, device: str) -> None:
    """Try what a check of one workload alone cannot see.

    Parameters
    ----------
    workload
        One that passed `checked_workload`.
    make_again
        Makes it once more, with the same seed.
    label
        What to call it in a message.
    device
        That it was asked to be on.

    Raises
    ------
    WorkloadFailedError
        If it is on another device, changes what it is handed, gives another loss at a second call, is another workload
        when it is made again, or evaluates on splits that meet.
    """
    weights = _copied(workload.parameters())
    _require_device(weights, device, label)
    batch = workload.batch(0)
    before = _copied(batch)
    losses = [_loss(workload, weights, batch) for _ in range(2)]
    _require(
        same_tensors(before, batch) and same_tensors(before, workload.batch(0)),
        f"{label}: training_loss(...) must leave the batch as it is, got one that it had changed; compute on copies",
    )
    _require(
        abs(losses[0] - losses[1]) <= SAME_LOSS * abs(losses[0]),
        f"{label}: training_loss(...) must give one loss for the same weights and batch, got {losses[0]!r} and then "
        f"{losses[1]!r}; draw at random in batch(step) from seed and step, or from torch's own generator",
    )
    _require_same_again(workload, make_again(), label)
    _require_disjoint(workload, label)
    _require_two_splits(workload, weights, label)


def _loss(workload: Workload, weights: Mapping[str, Tensor], batch: Any) -> float:
    # torch's own generator may be drawn from: a training starts it anew from its seed.
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return float(workload.training_loss(weights, batch))


def _require_device(weights: Mapping[str, Tensor], device: str, label: str) -> None:
    wanted = torch.empty(0, device=device).device
    elsewhere = {str(weight.device) for weight in weights.values() if weight.device != wanted}
    _require(
        not elsewhere,
        f"{label}: parameters() must be on the device that the factory is given, {device}, got {sorted(elsewhere)}; "
        "make them there, and the batches too",
    )


def _require_same_again(workload: Workload, again: Workload, label: str) -> None:
    for what, one, other in (
        ("parameters()", workload.parameters(), again.parameters()),
        ("batch(0)", workload.batch(0), again.batch(0)),
        ("batch(1)", workload.batch(1), again.batch(1)),
    ):
        _require(
            same_tensors(one, other),
            f"{label}: two workloads made with one seed must be the same, got another {what} from the second; "
            "draw everything from generators that the seed starts, in NumPy and Python too",
        )


def _require_disjoint(workload: Workload, label: str) -> None:
    """Check the splits of a workload that shows them: `rows`, indices by the name of the split, or `entries`, masks."""
    rows, entries = getattr(workload, "rows", None), getattr(workload, "entries", None)
    if isinstance(rows, Mapping):
        splits = {name: set(_flat(indices)) for name, indices in rows.items()}
    elif isinstance(entries, Mapping):
        splits = {name: {place for place, held in enumerate(_flat(mask)) if held} for name, mask in entries.items()}
    else:
        return
    for (one, first), (other, second) in combinations(splits.items(), 2):
        shared = first & second
        _require(
            not shared,
            f"{label}: its splits must never meet, got {len(shared)} rows both in {one!r} and in {other!r}, "
            f"{sorted(shared, key=str)[:3]} among them; give each row to one split",
        )


def _require_two_splits(workload: Workload, weights: Mapping[str, Tensor], label: str) -> None:
    """Refuse one evaluation under two names: after a step no two data sets have the very same loss.

    Before it they may: a network whose last layer starts at zero gives every example the same. A loss of exactly zero,
    or one that is not finite, proves nothing either.
    """
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    loss = workload.training_loss(leaves, workload.batch(0))
    gradients = torch.autograd.grad(loss, tuple(leaves.values()), materialize_grads=True)
    _require(
        all(bool(torch.isfinite(gradient).all()) for gradient in gradients),
        f"{label}: the gradient of training_loss(...) must be finite at the initial weights, got NaN or infinity; "
        "look for a square root, a logarithm or a division at zero",
    )
    _require(
        any(bool(gradient.any()) for gradient in gradients),
        f"{label}: training_loss(...) must depend on the parameters, got a gradient of zero for all of them; "
        "start from weights that are not all zero, and compute the loss from what it is handed",
    )
    rate = workload.descriptors.usual_learning_rate
    with torch.no_grad():
        moved = {name: w - rate * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
        handed = _copied(moved)
        selection, reporting = (float(workload.evaluate(handed, split)) for split in ("selection", "reporting"))
    _require(
        same_tensors(moved, handed),
        f"{label}: evaluate(...) must leave the weights as they are, got weights that it had changed; "
        "compute on copies",
    )
    _require(
        selection != reporting or selection == 0.0 or not math.isfinite(selection),
        f"{label}: 'selection' and 'reporting' must be different data, got the same loss {selection!r} on both after a "
        "step; what chooses a rate must not be what is reported, so split the held-out data in two",
    )


def _flat(values: Any) -> list[Any]:
    return values.flatten().tolist() if isinstance(values, Tensor) else list(values)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_copied(item) for item in value)
    return value


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise WorkloadFailedError(message)
