"""The rates in an optimizer, or in anything that looks like one: DeepSpeed, FSDP, bitsandbytes, Accelerate."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, Protocol, cast

from greedylr.rule import GreedyLRParameters
from greedylr.strict_json import shorten

Group = MutableMapping[str, Any]


class HasParameterGroups(Protocol):
    """All that the scheduler needs of an optimizer: a list of mappings, each with its rate under "lr"."""

    @property
    def param_groups(self) -> Any:
        """The groups; a change of a group's "lr" is the rate of the next step."""


def parameter_groups(optimizer: object) -> Sequence[Group]:
    """Return the groups of an optimizer.

    Raises
    ------
    ValueError
        If it has no `param_groups`, or one that does not hold a rate.
    """
    groups = getattr(optimizer, "param_groups", None)
    fits = isinstance(groups, list | tuple) and all(
        isinstance(group, MutableMapping) and "lr" in group for group in groups
    )
    if not fits or not groups:
        raise ValueError(
            "optimizer must have param_groups, a list of dicts with the rate under 'lr', got "
            f"{type(optimizer).__name__} with {shorten(groups) if groups is None else type(groups).__name__}; pass the "
            "optimizer itself (of a wrapper, what it wraps)"
        )
    return cast(Sequence[Group], groups)


def read_rate(group: Group) -> float:
    """Return the rate of a group; of a tensor on another device this waits for the device."""
    rate = group["lr"]
    try:
        return float(rate)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"lr of a parameter group must be one number, got {shorten(rate)}; set a number") from error


def write_rate(group: Group, rate: float) -> None:
    """Set the rate of a group; a tensor, which a captured or compiled optimizer reads, is changed in place."""
    held = group["lr"]
    if hasattr(held, "fill_"):
        held.fill_(rate)
    else:
        group["lr"] = rate


def part_shared_rates(groups: Sequence[Group]) -> None:
    """Give each group a tensor of its own where several hold the same one, so that their rates can differ."""
    seen: set[int] = set()
    for group in groups:
        rate = group["lr"]
        if hasattr(rate, "fill_") and id(rate) in seen:
            group["lr"] = rate = rate.clone()
        seen.add(id(rate))


def bounds_of_groups(
    parameters: GreedyLRParameters | None, min_lr: Sequence[float] | None, max_lr: Sequence[float] | None, groups: int
) -> list[tuple[float, float]] | None:
    """Return (min_lr, max_lr) of each group, None where both are left to the schedule.

    Raises
    ------
    ValueError
        If there is not one number a group, or no rule that could keep within them.
    """
    if min_lr is None and max_lr is None:
        return None
    if parameters is None:
        raise ValueError("min_lr and max_lr need a schedule with a rule, got one without; leave them out")
    columns = []
    for name, values in (("min_lr", min_lr), ("max_lr", max_lr)):
        if values is None:
            values = [getattr(parameters, name)] * groups
        if not isinstance(values, list | tuple) or len(values) != groups:
            raise ValueError(
                f"{name} must be a list of one number for each of the {groups} parameter groups, "
                f"got {shorten(values)}; bounds for all groups belong into the schedule"
            )
        columns.append(values)
    return list(zip(*columns, strict=True))
