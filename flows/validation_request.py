"""From what a command line says to the validations it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flows.budget_settings import budget_of_users
from flows.group_settings import with_group, with_steps
from flows.group_workload import REFERENCE, named_workload
from flows.past_use import PastUse, past_use
from flows.road import Road
from flows.validation import Means, Validation
from flows.validation_files import attempt_of, slug, validation_folder
from greedylr.preset import Preset
from greedylr.schedules import PRIMARY_CONTROL
from models.contenders import CONTROL_CONTENDERS, Contender, contenders
from models.workloads.reference import REFERENCES
from pipeline.settings import WORKLOAD, GroupSettings, Settings


def contenders_named(names: str | None) -> Mapping[str, Contender]:
    """Return the contenders of a list with commas, the primary control always among them; the frozen list for None.

    Raises
    ------
    ValueError
        For a name that is none.
    """
    if names is None:
        return CONTROL_CONTENDERS
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    return contenders(dict.fromkeys((PRIMARY_CONTROL, *wanted)))


def max_seeds_of(seeds: int | None, settings: Settings) -> Literal[5, 10, 20]:
    """Return the last look; that of the settings for None."""
    match seeds:
        case None:
            return settings.budget.max_seeds
        case 5 | 10 | 20:
            return seeds
    raise ValueError(f"--seeds must be one of the looks, 5, 10 or 20, got {seeds}")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command line asks for.

    Parameters
    ----------
    preset
        To be validated.
    workloads
        A reference workload's name, with or without "reference:", "path/file.py:factory" or "module:factory".
    group
        A group whose workload and incumbent are taken instead.
    means
        Their budget is that of the settings where a workload of the user's is given none.
    steps
        Length of a training; None is the workload's own.
    again
        Whether a finished attempt is followed by another, with fresh seeds.

    Raises
    ------
    ValueError
        If neither workload nor group is named, or both are.
    """

    preset: Preset
    workloads: tuple[str, ...]
    group: str | None
    means: Means
    steps: int | None = None
    again: bool = False

    def __post_init__(self) -> None:
        if bool(self.workloads) == (self.group is not None):
            raise ValueError(
                f"a validation takes either workloads or a group, got {'both' if self.workloads else 'neither'}; "
                "give --workload NAME, or --group GROUP of your settings"
            )


def validations(road: Road, request: Request) -> list[Validation]:
    """Return the validations that are asked for, one for each workload.

    Raises
    ------
    ValueError
        If a workload or the group does not exist, or a workload stands twice.
    """
    if request.group is not None:
        return [_of_group(road, request, request.group)]
    addresses = [_address(text) for text in request.workloads]
    if len(set(addresses)) != len(addresses):
        raise ValueError(f"a preset is validated on each workload once, got {', '.join(request.workloads)}")
    return [_of_workload(road, request, address) for address in addresses]


def _of_group(road: Road, request: Request, group: str) -> Validation:
    if named_workload(road, group) is None:
        named = [name for name in road.settings.groups.named if named_workload(road, name) is not None]
        raise ValueError(
            f"--group must be a group whose workload or command the settings name, got {group!r}; "
            f"such groups are: {', '.join(named) or 'none'}"
        )
    if request.steps is not None:
        road = with_steps(road, group, request.steps)
    return _validation(road, request, group, past_use(road, group))


def _of_workload(road: Road, request: Request, address: str) -> Validation:
    group = slug(address.removeprefix(REFERENCE).rsplit("/", 1)[-1])
    settings = GroupSettings(workload=address, steps=request.steps)
    return _validation(with_group(road, group, settings), request, group, PastUse())


def _validation(road: Road, request: Request, group: str, past: PastUse) -> Validation:
    workload = named_workload(road, group)
    assert workload is not None  # the settings of its road name one
    means = request.means
    if means.budget is None and workload.users and not means.with_budget_share:
        means = replace(means, budget=budget_of_users(road.settings))
    folder = validation_folder(road.data, request.preset, group, request.steps)
    return Validation(
        road=road,
        group=group,
        workload=workload,
        preset=request.preset,
        past=past,
        attempt=attempt_of(folder, request.preset, again=request.again),
        folder=folder,
        means=means,
    )


def _address(text: str) -> str:
    """Return the address of a workload as settings have it, a file by its whole path."""
    if text in REFERENCES:
        return f"{REFERENCE}{text}"
    if WORKLOAD.fullmatch(text) is None or (
        text.startswith(REFERENCE) and text.removeprefix(REFERENCE) not in REFERENCES
    ):
        raise ValueError(
            f"--workload must be one of {', '.join(REFERENCES)}, 'path/file.py:factory' or 'module:factory', "
            f"got {text!r}"
        )
    place, _, factory = text.rpartition(":")
    return f"{Path(place).expanduser().absolute()}:{factory}" if place.endswith(".py") else text
