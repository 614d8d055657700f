"""What is retrained for a group: the workload that its settings name, or the nearest reference workload."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from modulefinder import ModuleFinder
from pathlib import Path

from flows.road import Learned, Road
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


def code_hash(place: str, root: Path) -> str:
    """Return a hash of a user's module or file and of all that it imports from the repository.

    The imports are read from the source: nothing of it is executed here. What stands outside the repository, and what
    is no Python (a data file), does not count.

    Parameters
    ----------
    place
        "module" or "path/file.py".
    root
        The repository.

    Returns
    -------
    str
        16 hexadecimal digits; "" for code that is missing or no Python, of which the child process says more.
    """
    root = root.resolve()
    file = root / place
    finder = ModuleFinder(path=[str(folder) for folder in dict.fromkeys((root, file.parent))])
    try:
        if place.endswith(".py"):
            finder.run_script(str(file))
        else:
            finder.import_hook(place)
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    return _hash_of(Path(file) for file in files if file)


def _hash_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
