"""What is retrained for a group: the workload that its settings name, or the nearest reference workload."""

from __future__ import annotations

from dataclasses import dataclass

from flows.road import Learned, Road
from flows.workload_code import code_hash
from greedylr.workload import WorkloadDescriptors
from models.workloads.reference import REFERENCE_DESCRIPTORS, nearest_reference

REFERENCE = "reference:"


@dataclass(frozen=True, kw_only=True)
class GroupWorkload:
    """The workload of a group.

    Parameters
    ----------
    name
        For people.
    own
        Whether the settings name it: the group's own, not a stand-in.
    users
        Whether it is a user's code.
    address
        "reference:NAME", "module:factory" or "file.py:factory".
    descriptors
        Of a reference workload; of a user's they are known once it is built, in its child process.
    code
        Hash of a user's file and of what it imports from the same repository, "" where there is nothing to hash.
    """

    name: str
    own: bool
    users: bool
    address: str
    descriptors: WorkloadDescriptors | None
    code: str = ""


def group_workload(road: Road, group: str, learned: Learned) -> GroupWorkload:
    """Return the workload of a group.

    Raises
    ------
    ValueError
        If the settings name a reference workload that does not exist.
    """
    address = road.settings.group(group).workload
    if address is None:
        name = nearest_reference(learned.statistics.usual_steps)
        return reference_workload(name, own=False)
    if address.startswith(REFERENCE):
        name = address.removeprefix(REFERENCE)
        if name not in REFERENCE_DESCRIPTORS:
            raise ValueError(
                f"the workload of group {group} must be a reference workload ({', '.join(REFERENCE_DESCRIPTORS)}) "
                f"or your own factory, got {address!r}"
            )
        return reference_workload(name, own=True)
    place, _, _ = address.rpartition(":")
    return GroupWorkload(
        name=address.rsplit("/", 1)[-1],
        own=True,
        users=True,
        address=address,
        descriptors=None,
        code=code_hash(place, road.root),
    )


def reference_workload(name: str, *, own: bool) -> GroupWorkload:
    """Return a reference workload as a group's own or as a stand-in."""
    return GroupWorkload(
        name=name, own=own, users=False, address=f"{REFERENCE}{name}", descriptors=REFERENCE_DESCRIPTORS[name]
    )
