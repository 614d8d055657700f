"""What is retrained for a group: the workload or command that its settings name, or the nearest reference workload."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from flows.command_code import command_hash
from flows.road import Learned, Road
from flows.workload_code import code_hash
from greedylr.verdict import Selection
from greedylr.workload import WorkloadDescriptors
from models.retraining.user_code import OUR_PACKAGES
from models.workloads.reference import REFERENCES, nearest_reference
from pipeline.settings import GroupSettings
from pipeline.training_command import TrainingCommand

REFERENCE = "reference:"

Kind = Literal["reference", "factory", "command"]

USUAL_OPTIMIZER = """
select optimizer from usable_runs join run_groups using (run_id)
where group_name = ? and optimizer is not null group by optimizer order by count(*) desc, optimizer limit 1
"""


@dataclass(frozen=True, kw_only=True)
class GroupWorkload:
    """The workload of a group.

    Parameters
    ----------
    name
        For people.
    own
        Whether the settings name it: the group's own, not a stand-in.
    kind
        A reference workload, or a user's factory or command.
    address
        "reference:NAME", "module:factory", "file.py:factory", or the template of a command.
    descriptors
        Of a reference workload; of a user's they are known once it is built, in its child process, of a command never.
    code
        Hash of a user's files and of what they import from the same repository, "" where there is nothing to hash.
    command
        Of the kind "command".
    """

    name: str
    own: bool
    kind: Kind
    address: str
    descriptors: WorkloadDescriptors | None = None
    code: str = ""
    command: TrainingCommand | None = None

    @property
    def users(self) -> bool:
        """Whether it is a user's code."""
        return self.kind != "reference"

    @property
    def selection(self) -> Selection:
        """Whether what is reported was measured on other data than what rates are chosen by."""
        return "report" if self.command is not None and self.command.report_metric is None else "apart"


def group_workload(road: Road, group: str, learned: Learned) -> GroupWorkload:
    """Return the workload of a group: the one that its settings name, else the nearest reference workload.

    Raises
    ------
    ValueError
        If the settings name a reference workload, a file or a module that does not exist.
    """
    named = named_workload(road, group)
    if named is not None:
        return named
    name = nearest_reference(learned.statistics.usual_steps, _usual_optimizer(road, group))
    return reference_workload(name, own=False)


def named_workload(road: Road, group: str) -> GroupWorkload | None:
    """Return the workload that the settings name for a group, None where they name none; errors as `group_workload`."""
    settings = road.settings.group(group)
    if settings.command is not None:
        return _command_workload(settings, road.root)
    address = settings.workload
    if address is None:
        return None
    if address.startswith(REFERENCE):
        name = address.removeprefix(REFERENCE)
        if name not in REFERENCES:
            raise ValueError(
                f"the workload of group {group} must be one that `greedylr workloads` lists or your own "
                f"factory, got {address!r}"
            )
        return reference_workload(name, own=True)
    place, _, _ = address.rpartition(":")
    _require_place(place, road.root, group)
    return GroupWorkload(
        name=address.rsplit("/", 1)[-1],
        own=True,
        kind="factory",
        address=address,
        code=code_hash(place, road.root),
    )


def reference_workload(name: str, *, own: bool) -> GroupWorkload:
    """Return a reference workload as a group's own or as a stand-in."""
    return GroupWorkload(
        name=name,
        own=own,
        kind="reference",
        address=f"{REFERENCE}{name}",
        descriptors=REFERENCES[name].descriptors,
    )


def _command_workload(settings: GroupSettings, root: Path) -> GroupWorkload:
    assert settings.command is not None and settings.metric is not None  # the settings were checked
    command = TrainingCommand(
        template=settings.command,
        metric=settings.metric,
        report_metric=settings.report_metric,
        mode=settings.mode,
        steps=settings.steps,
    )
    return GroupWorkload(
        name=command.shown(),
        own=True,
        kind="command",
        address=command.template,
        code=command_hash(command, root),
        command=command,
    )


def _usual_optimizer(road: Road, group: str) -> str | None:
    """Return the optimizer that most of a group's runs declare; None where none does."""
    found = road.warehouse.frame(USUAL_OPTIMIZER, [group])["optimizer"].to_list()
    return found[0] if found else None


def _require_place(place: str, root: Path, group: str) -> None:
    """Raise ValueError unless a workload's file or module is there; nothing of it is imported."""
    if place.endswith(".py"):
        if not (root / place).is_file():
            raise ValueError(f"the workload's file must exist, got {str(root / place)!r} for group {group}")
    elif not (_stands_in(root, place) or _is_installed(root, place)):
        raise ValueError(
            f"the workload's module must exist in {root.resolve()} or be installed, got {place!r} for group {group}"
        )


def _stands_in(root: Path, module: str) -> bool:
    path = root.joinpath(*module.split("."))
    return path.with_name(f"{path.name}.py").is_file() or path.is_dir()


def _is_installed(root: Path, module: str) -> bool:
    """Say whether Python finds the outermost package elsewhere; what lies in it is known only once it is imported."""
    package = module.partition(".")[0]
    # Where a job is trained our own packages are not to be had.
    if package in OUR_PACKAGES:
        return False
    try:
        found = find_spec(package)
    except ValueError:
        return True
    if found is None:
        return False
    # A folder of the user's without __init__.py gives way to a package of its name that is installed.
    return not (root / package).is_dir() or (
        found.origin is not None and not Path(found.origin).is_relative_to(root.resolve())
    )
