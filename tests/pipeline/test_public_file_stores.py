"""The file stores of strangers, against a plain reader and the figures that came with them."""

import hashlib
from collections import Counter
from dataclasses import dataclass

import pytest

from pipeline.errors import SourceUnreadableError
from pipeline.sources.file_store import FileStore
from tests.plain_reader import read_plainly

pytestmark = pytest.mark.public_histories


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What those who collected the stores counted in them."""

    statuses: dict[str, int]
    without_metrics: int = 0
    without_end: int = 0


# Two repositories have two stores each: their figures are sums.
STORES = {
    ("DBRTII__Deep-NILM-benchmark/mlflow/mlruns",): Figures(
        statuses={"FINISHED": 32, "FINISHED/deleted": 3, "FAILED/deleted": 1}, without_metrics=2
    ),
    ("Mehmet1700__mlp-har-activity/logs/mlruns",): Figures(
        statuses={"FINISHED": 58, "FAILED": 11, "RUNNING": 8}, without_metrics=17, without_end=8
    ),
    ("Finnk11__bilevel-rl/experiments/mlruns",): Figures(statuses={"FAILED": 2, "FINISHED": 1}, without_metrics=2),
    ("NasosSkaltsas__pid-diagram/runs/mlflow",): Figures(statuses={"FINISHED": 4}),
    ("ai4os-hub__ai4os-yolov8-torch/runs/mlflow",): Figures(
        statuses={"RUNNING": 4, "FINISHED": 2}, without_metrics=3, without_end=4
    ),
    ("Joao-Bornelli__OilQuantification/runs/mlflow",): Figures(
        statuses={"RUNNING": 3}, without_metrics=2, without_end=3
    ),
    ("rymuelle__ConvNeXt-V2-UNet/examples/mlruns",): Figures(
        statuses={"RUNNING": 1, "FINISHED": 1}, without_metrics=1, without_end=1
    ),
    ("nachitog83__AprendizajeProfundo/mlruns",): Figures(
        statuses={"FAILED/deleted": 12, "FINISHED": 18, "FINISHED/deleted": 5, "RUNNING/deleted": 1},
        without_metrics=11,
        without_end=1,
    ),
    ("DMurawiecki__Deberta-cls/mlruns", "DMurawiecki__Deberta-cls/scripts/mlruns"): Figures(
        statuses={"FAILED": 6, "RUNNING": 1, "FINISHED": 1}, without_metrics=2, without_end=1
    ),
    ("KhuzaimahAziz__thesis_seismology/mlruns", "KhuzaimahAziz__thesis_seismology/src/mlruns"): Figures(
        statuses={"RUNNING": 29, "FAILED": 6, "FINISHED": 6, "FINISHED/deleted": 2}, without_metrics=17, without_end=29
    ),
    ("keimoriyama__shinra-bert/code/mlruns",): Figures(statuses={"RUNNING": 2, "FINISHED": 5}, without_end=2),
    ("davidtey__deep-learning-fusion/notebooks/mlruns",): Figures(
        statuses={"RUNNING": 27, "FINISHED": 14}, without_end=27
    ),
    ("pyronear__pyro-mlops/model/mlruns",): Figures(statuses={"FINISHED": 16, "FAILED": 1}, without_metrics=4),
    ("Platonov-CV__fpv-trick-detection/mlruns",): Figures(
        statuses={"FINISHED": 2, "FINISHED/deleted": 1, "FAILED/deleted": 1, "FAILED": 1}, without_metrics=2
    ),
    ("dritter321__fashion-mnist/training/mlruns",): Figures(statuses={"FINISHED": 2}, without_metrics=1),
    ("alexanderhxs__Deep-Learning-Project-3/mlflow/mlruns",): Figures(
        statuses={"FINISHED": 3, "FAILED/deleted": 1, "FINISHED/deleted": 1}
    ),
}
# The repository was collected for its pointers, but only one of its two stores is made of them.
POINTERS = "elamraniadnane1__CSC5382_SP24_FINALPROJECT/mlruns"
BESIDE_THE_POINTERS = "elamraniadnane1__CSC5382_SP24_FINALPROJECT/scripts/mlruns"
READABLE = [store for stores in STORES for store in stores] + [BESIDE_THE_POINTERS]


def everything(path):
    """All that a source gives of a store, as lists of tuples."""
    with FileStore(str(path)) as store:
        with store.runs() as reader:
            runs = reader.read_all().to_pylist()
        run_uuids = [run["run_uuid"] for run in runs]
        tables = {}
        for name in ("params", "tags", "series", "points"):
            with getattr(store, name)(run_uuids) as reader:
                tables[name] = [tuple(row.values()) for row in reader.read_all().to_pylist()]
        return runs, tables, store.problems


def tree(folder):
    """Every folder and file with its time of change, and the content of files."""
    return {
        str(path): (path.stat().st_mtime_ns, path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("stores", STORES, ids=lambda stores: stores[0].split("/")[0])
def test_the_runs_are_those_that_others_counted(stores, public_histories):
    statuses, without_metrics, without_end = Counter(), 0, 0
    for store in stores:
        runs, tables, problems = everything(public_histories / store)
        assert problems == {}
        statuses += Counter(run["status"] + ("/deleted" if run["lifecycle_stage"] == "deleted" else "") for run in runs)
        without_metrics += len(runs) - len({run_uuid for run_uuid, _ in tables["series"]})
        without_end += sum(run["end_time"] == -1 for run in runs)
    assert Figures(statuses=dict(statuses), without_metrics=without_metrics, without_end=without_end) == STORES[stores]


@pytest.mark.parametrize("store", READABLE)
def test_a_plain_reader_finds_the_same(store, public_histories):
    runs, tables, _ = everything(public_histories / store)
    plain = read_plainly(public_histories / store)
    columns = ("experiment_id", "experiment_name", "run_name", "status", "lifecycle_stage", "start_time", "end_time")
    described = {run["run_uuid"]: tuple(run[column] for column in columns) for run in runs}
    assert described == {run_uuid: (*run[:6], -1 if run[6] is None else run[6]) for run_uuid, run in plain.runs.items()}
    assert Counter(tables["params"]) == plain.params
    assert Counter(tables["tags"]) == plain.tags
    assert set(tables["series"]) == plain.series
    points = Counter((*point[:4], repr(float("nan") if point[5] else point[4])) for point in tables["points"])
    assert points == plain.points


def test_all_stores_together(public_histories):
    plain = [read_plainly(public_histories / store) for store in READABLE]
    assert sum(len(store.runs) for store in plain) == 298
    assert sum(len(store.series) for store in plain) == 1549
    assert sum(store.points.total() for store in plain) == 73_686
    assert sum(store.points_after_exact_duplicates for store in plain) == 73_083


def test_a_store_of_pointers_is_refused_with_the_remedy(public_histories):
    with (
        FileStore(str(public_histories / POINTERS)) as store,
        pytest.raises(SourceUnreadableError, match=r"none of its runs can be read.*git LFS.*`git lfs pull`"),
        store.runs(),
    ):
        pass
    assert {name for name in store.problems if not name.startswith("experiment")} == {
        "19a6f08b3aab4df9b6d68215a199f16f",
        "971e19f13f6349b8b6f50899da12a287",
    }


def test_the_stores_stay_as_they_were(public_histories):
    before = tree(public_histories)
    for store in READABLE:
        everything(public_histories / store)
    assert tree(public_histories) == before
