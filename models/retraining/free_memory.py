"""How much memory is left to a training: on an accelerator, or in the machine, the container and the process."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import torch

CGROUPS = Path("/sys/fs/cgroup")

# Limit, usage and the part of the usage that the kernel gives back when asked; by version of the control groups.
_UNIFIED = ("memory.max", "memory.current", "inactive_file")
_LEGACY = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_bytes(device: str) -> int:
    """Return how many bytes a device can still give: the least of what any limit leaves.

    On CUDA what the driver has free, and what torch's allocator holds without using it. Everywhere else it is the
    machine's memory: what the system has available, what the control group (a container) and all above it leave, and
    what is left of the process's address space where that is limited.
    """
    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    membership = Path("/proc/self/cgroup")
    limits = [_available(), _left_of_address_space()]
    if membership.is_file():
        limits.append(left_of_control_groups(CGROUPS, membership.read_text(encoding="ascii", errors="replace")))
    return min(limit for limit in limits if limit is not None)


def left_of_control_groups(root: Path, membership: str) -> int | None:
    """Return the bytes that the process's control groups leave; None where none of them has a limit.

    Parameters
    ----------
    root
        Where the control groups are mounted.
    membership
        Text of `/proc/self/cgroup`, a line `number:controllers:path` each.
    """
    left = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            left += [_left(folder, _UNIFIED) for folder in _upwards(root, path)]
        elif "memory" in controllers.split(","):
            left += [_left(folder, _LEGACY) for folder in _upwards(root / "memory", path)]
    return min((bytes_ for bytes_ in left if bytes_ is not None), default=None)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    # Inside a container the path may be the host's, which is not mounted; the mounted root is then our own group.
    folder = root / path.strip("/")
    while folder != root:
        yield folder
        folder = folder.parent
    yield root


def _left(folder: Path, names: tuple[str, str, str]) -> int | None:
    limit_file, usage_file, reclaimable = names
    if not (folder / limit_file).is_file() or not (folder / usage_file).is_file():
        return None
    limit = (folder / limit_file).read_text(encoding="ascii").strip()
    if limit == "max":
        return None
    used = int((folder / usage_file).read_text(encoding="ascii"))
    for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == reclaimable:
            used -= int(value)
    return max(0, int(limit) - used)


def _available() -> int:
    information = Path("/proc/meminfo")
    if information.is_file():
        for line in information.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    # A system that does not tell what is available; what is too much is then found out by trying.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_of_address_space() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    size = Path("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not size.is_file():
        return None
    used = int(size.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return max(0, limit - used)
