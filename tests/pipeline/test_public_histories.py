"""Real stores of strangers, through the pipeline and the features.

The archive is input for tests only; where it is absent these tests are skipped. GREEDYLR_PUBLIC_HISTORIES names it.
"""

import hashlib

import pytest

from features.grouping import groups
from features.learning_rates import learning_rates, with_siblings
from features.run_descriptors import run_descriptors
from features.series_roles import guessed_losses, series_roles
from features.trajectories import trajectories, with_progress
from features.trials import with_trials
from pipeline.ingestion import ingest
from pipeline.warehouse import EVERY_GROUP, Warehouse
from tests.features.curves import rate_series

pytestmark = pytest.mark.public_histories


@pytest.fixture(scope="module")
def ingested(public_stores, tmp_path_factory):
    """The warehouse after one ingest call over all stores, what it reported, and the hashes before."""
    hashes = {name: sha256(path) for name, path in public_stores.items()}
    warehouse = Warehouse(tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb")
    report = ingest(warehouse, [str(path) for path in public_stores.values()])
    return warehouse, dict(zip(public_stores, report.sources, strict=True)), hashes


@pytest.fixture(scope="module")
def featured(ingested):
    """The features of all runs: roles, trajectories, descriptors, groups; stored as a refresh would store them."""
    warehouse, _, _ = ingested
    roles = series_roles(warehouse.frame("from series"))
    warehouse.finish_stage(EVERY_GROUP, "roles", "1", {"series_roles": roles})
    runs, params = warehouse.frame("from runs"), warehouse.frame("from params")
    curves = trajectories(warehouse.frame("from role_points"), roles)
    epochs = warehouse.frame("select run_id, step, value from metrics where key = 'epoch'")
    runs = with_trials(with_siblings(runs, rate_series(curves)), curves)
    curves, rates = learning_rates(runs, params, curves, epochs)
    usable = run_descriptors(runs, params, curves, rates, guessed_losses(roles))
    found = groups(runs, params, usable)
    tables = {"trajectories": with_progress(curves, usable), "usable_runs": usable, "run_groups": found}
    warehouse.finish_stage(EVERY_GROUP, "trajectories", "1", tables)
    return warehouse


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_store_is_read_or_its_reason_is_given(ingested):
    _, sources, _ = ingested
    reasons = {name.split("__")[1]: source.reason for name, source in sources.items() if source.reason}
    assert reasons == {
        "AD-Autoencoder/mlruns.db": "holds no runs",
        "mlflow-pytorch-lightning-hydra-mlflow-poetry/db/mlruns.db": "an empty file (0 bytes)",
    }
    assert sum(source.status == "read" for source in sources.values()) == 8
    assert sum(source.runs_new for source in sources.values()) == 72


def test_the_stores_stay_as_they_were(ingested, public_stores):
    _, _, before = ingested
    assert {name: sha256(path) for name, path in public_stores.items()} == before
    assert not [beside for path in public_stores.values() for beside in path.parent.glob(f"{path.name}-*")]


def test_what_is_usable_and_why_the_rest_is_not(featured):
    counts = featured.frame(
        """
        select split_part(split_part(uri, '__', 2), '/', 1) as store, coalesce(usable_runs.reason, 'usable') as reason,
            count(*) as runs
        from usable_runs join runs using (run_id) join sources using (source_id) group by all
        """
    )
    assert {(store, reason): runs for store, reason, runs in counts.rows()} == {
        ("AIP", "usable"): 6,
        ("CMPE258-DL-Final-Project", "fewer than 10 points"): 15,
        ("CMPE258-DL-Final-Project", "no loss series"): 1,
        ("CMPE258-DL-Final-Project", "usable"): 1,
        ("DirectionClassifier", "fewer than 10 points"): 1,
        ("DirectionClassifier", "no loss series"): 6,
        ("DirectionClassifier", "no metrics"): 2,
        ("DirectionClassifier", "usable"): 4,
        ("Match-Video-Detection", "no loss series"): 2,
        ("Match-Video-Detection", "no metrics"): 1,
        ("Match-Video-Detection", "usable"): 2,
        ("Toy_sft", "no loss series"): 25,
        ("Toy_sft", "no metrics"): 1,
        ("Toy_sft", "usable"): 4,
        ("Transformers_II", "usable"): 1,
    }


def test_the_series_that_a_reader_would_choose_are_chosen(featured):
    chosen = featured.frame(
        "select experiment_name, role, key, count(*) as runs from series_roles join runs using (run_id) "
        "join usable_runs using (run_id) where usable group by all"
    )
    assert {(experiment, role, key): runs for experiment, role, key, runs in chosen.rows()} == {
        ("Deep Learning Experiment", "training_loss", "batch_loss"): 4,
        ("Deep Learning Experiment", "validation_loss", "val_loss"): 3,
        ("Default", "training_loss", "train_loss"): 3,
        ("Default", "validation_loss", "valid_loss"): 3,
        ("box-cross-detection-finetuning", "learning_rate", "lr/pg0"): 1,
        ("box-cross-detection-finetuning", "training_loss", "train/box_loss"): 1,
        ("box-cross-detection-finetuning", "training_loss", "train/cls_loss"): 1,
        ("box-cross-detection-finetuning", "training_loss", "train/dfl_loss"): 1,
        ("box-cross-detection-finetuning", "validation_loss", "val/box_loss"): 1,
        ("box-cross-detection-finetuning", "validation_loss", "val/cls_loss"): 1,
        ("box-cross-detection-finetuning", "validation_loss", "val/dfl_loss"): 1,
        ("chaos_AIP", "training_loss", "train_loss"): 3,
        ("chaos_AIP", "validation_loss", "valid_loss"): 3,
        ("cross-detection-finetuning", "learning_rate", "lr/pg0"): 1,
        ("cross-detection-finetuning", "training_loss", "train/box_loss"): 1,
        ("cross-detection-finetuning", "training_loss", "train/cls_loss"): 1,
        ("cross-detection-finetuning", "training_loss", "train/dfl_loss"): 1,
        ("cross-detection-finetuning", "validation_loss", "val/box_loss"): 1,
        ("cross-detection-finetuning", "validation_loss", "val/cls_loss"): 1,
        ("cross-detection-finetuning", "validation_loss", "val/dfl_loss"): 1,
        ("granite-350M-sft", "epoch", "epoch"): 4,
        ("granite-350M-sft", "learning_rate", "learning_rate"): 4,
        ("granite-350M-sft", "training_loss", "loss"): 4,
        ("granite-350M-sft", "validation_loss", "eval_loss"): 4,
        ("medprompt_training", "learning_rate", "lr"): 1,
        ("medprompt_training", "training_loss", "train/loss"): 1,
        ("transformer_predictive_maintenance", "learning_rate", "learning_rate"): 1,
        ("transformer_predictive_maintenance", "training_loss", "train_loss"): 1,
        ("transformer_predictive_maintenance", "validation_loss", "val_loss"): 1,
    }


def test_groups_with_their_optimizer_rates_and_schedules(featured):
    described = featured.frame(
        "select group_name, count(*) as runs, optimizer, list(distinct starting_rate order by starting_rate) as rates, "
        "list(distinct schedule order by schedule) filter (schedule is not null) as schedules, "
        "bool_or(diverged) as diverged "
        "from run_groups join usable_runs using (run_id) group by group_name, optimizer"
    )
    assert {row[0]: row[1:] for row in described.rows()} == {
        # Ultralytics with optimizer=auto: a param says 0.001, and another rate was run.
        "box-cross-detection-finetuning": (1, None, [0.0016075620000000003], ["linear"], False),
        "chaos-aip": (3, None, [0.03], None, False),
        "cross-detection-finetuning": (1, None, [0.0014236040000000002], ["other"], False),
        "deep-learning-experiment-sgd": (4, "sgd", [0.001], None, False),
        "default": (3, None, [0.03], None, False),
        "granite-350m-sft": (1, None, [0.0002], ["cosine"], False),
        "granite-350m-sft-adamw": (3, "adamw", [5e-05, 0.0001], ["cosine"], False),
        "medprompt-training": (1, None, [3e-05], ["cosine"], False),
        "transformer-predictive-maintenance": (1, None, [0.0001], ["cosine"], False),
    }


def test_points_logged_without_a_step_become_a_curve_in_the_order_of_time(featured):
    curve = featured.frame(
        "select step, round(training_loss, 4) as loss, progress from trajectories join runs using (run_id) "
        "where experiment_name = 'chaos_AIP' and run_uuid like 'f35718%' order by position"
    )
    assert curve.head(3).rows() == [(0, 1.1812, 0.0), (1, 0.3877, 0.05), (2, 0.316, 0.1)]
    assert curve.tail(1).rows() == [(19, 0.0787, 0.95)]


def test_epochs_of_validation_lie_among_the_batches_of_training(featured):
    curve = featured.frame(
        "select step, round(validation_loss, 4) as loss from trajectories join runs using (run_id) "
        "where run_name = 'wise-sponge-364' and validation_loss is not null order by position"
    )
    assert curve["loss"].to_list() == [1.2952, 0.9105, 0.7787, 0.7014, 0.6488]
    gaps = curve["step"].diff().drop_nulls()
    assert curve["step"][0] > 800
    assert gaps.min() > 800
    assert gaps.max() < 1100


def test_progress_lies_between_zero_and_one(featured):
    shares = featured.frame("select min(progress) as low, max(progress) as high from trajectories").row(0)
    assert shares == (0.0, 4652 / 4653)
