"""What is finished of a job before all of it is, kept in the job's folder for another attempt to go on from.

Each finished chunk is one file, and one file is there whole or not at all. It names the job, the data and the code that
it was trained with, so that a changed job takes nothing from it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

import greedylr
from greedylr.strict_json import encode, parse
from models.retraining.job import DATA_FILE, Job
from models.retraining.training_record import TrainingRecord

PARTIAL_FOLDER, PLAN_FILE = "partial", "plan.json"
OUR_PACKAGES = (Path(str(greedylr.__file__)).parent, Path(__file__).parents[1])

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedChunk:
    """Configurations that were trained together with one seed.

    Parameters
    ----------
    seed
        Their seed.
    configurations
        Their places among the job's configurations, (n,).
    record
        Of the n replicas.
    seconds
        Device-seconds that it took.
    """

    seed: int
    configurations: tuple[int, ...]
    record: TrainingRecord
    seconds: float


class PartialResults:
    """The finished chunks of a job and how it is cut.

    Parameters
    ----------
    folder
        The job's; None keeps nothing.
    key
        Of the job, by `training_key`. What has another one is removed at once.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self._folder = folder / PARTIAL_FOLDER if folder is not None else None
        self._key = key
        self._found = [] if self._folder is None else self._swept(self._folder)

    def finished(self, seed: int) -> list[FinishedChunk]:
        """Return what an earlier attempt finished of a seed."""
        return [chunk for chunk in self._found if chunk.seed == seed]

    @property
    def seconds(self) -> float:
        """Device-seconds that earlier attempts spent on what is kept of them."""
        return sum(chunk.seconds for chunk in self._found)

    def keep(self, chunk: FinishedChunk) -> None:
        """Write a chunk that was trained now."""
        if self._folder is None:
            return
        self._folder.mkdir(exist_ok=True)
        first, last = chunk.configurations[0], chunk.configurations[-1]
        path = self._folder / f"seed-{chunk.seed}-configurations-{first}-{last}.npz"
        record = {field.name: getattr(chunk.record, field.name) for field in fields(TrainingRecord)}
        incomplete = path.with_suffix(".incomplete")
        with incomplete.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                key=np.array(self._key),
                seed=np.array(chunk.seed),
                configurations=np.array(chunk.configurations),
                seconds=np.array(chunk.seconds),
                **record,
            )
        incomplete.replace(path)

    def planned(self) -> Mapping[str, int]:
        """Return the replicas at once that an earlier attempt went by, a method; empty where there was none."""
        return _plan(self._folder / PLAN_FILE, self._key) if self._folder is not None else {}

    def keep_plan(self, replicas_at_once: Mapping[str, int]) -> None:
        """Write how the job is cut, so that the rest of it is cut the same way."""
        if self._folder is None:
            return
        self._folder.mkdir(exist_ok=True)
        incomplete = self._folder / "plan.incomplete"
        stored = {"key": self._key, "replicas_at_once": dict(replicas_at_once)}
        incomplete.write_text(json.dumps(stored), encoding="utf-8")
        incomplete.replace(self._folder / PLAN_FILE)

    def remove(self) -> None:
        """Remove everything, once the result of the whole job is written."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _swept(self, folder: Path) -> list[FinishedChunk]:
        found = []
        for path in sorted(folder.glob("*")):
            chunk = _read(path, self._key) if path.suffix == ".npz" else None
            if chunk is not None:
                found.append(chunk)
            elif path.name != PLAN_FILE or not _plan(path, self._key):
                path.unlink()
        return found


def training_key(job: Job, folder: Path, code: str = "") -> str:
    """Return what the bits of a training hang on: the job, its data, our code, a user's, torch and the device.

    Parameters
    ----------
    job, folder
        The job and where it lies.
    code
        A hash of the user's code; empty for a reference workload.
    """
    data = folder / DATA_FILE
    device = torch.device(job.device)
    content = [
        encode(job),
        hashlib.sha256(data.read_bytes()).hexdigest() if job.workload.reference else "",
        code,
        # A checkout changes more often than its version.
        [hash_of_files(package.rglob("*.py"), package) for package in OUR_PACKAGES],
        torch.__version__,
        # On a CPU the number of threads decides in which order sums are taken.
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else [platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def hash_of_files(files: Iterable[Path], root: Path) -> str:
    """Return a hash of the names, below a root, and contents of some files."""
    hashed = hashlib.sha256()
    for file in sorted(files):
        hashed.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return hashed.hexdigest()


def _read(path: Path, key: str) -> FinishedChunk | None:
    """Return the chunk of a file; None where it is another job's, or no chunk at all."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            return FinishedChunk(
                seed=int(file["seed"]),
                configurations=tuple(file["configurations"].tolist()),
                record=TrainingRecord(**{field.name: file[field.name] for field in fields(TrainingRecord)}),
                seconds=float(file["seconds"]),
            )
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        logger.warning("%s is left out and trained again: %s", path, error)
        return None


def _plan(path: Path, key: str) -> dict[str, int]:
    """Return the plan of a file; empty where there is none, or another job's."""
    if not path.is_file():
        return {}
    try:
        # By hand: where a user's code was imported, the types that decoding looks up are gone.
        stored = parse(path.read_text(encoding="utf-8"))
        return {
            str(method): int(number) for method, number in stored["replicas_at_once"].items() if stored["key"] == key
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is left out: %s", path, error)
        return {}
