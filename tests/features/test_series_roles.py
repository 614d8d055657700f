import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.series_roles import IGNORED, SERIES_COLUMNS, possible_names, series_roles


def series(*rows):
    """Rows of (run, key) or (run, key, points) or (run, key, points, non-finite, minimum, maximum)."""
    full = [(*row, *(50, 0, 0.1, 2.0)[len(row) - 2 :]) for row in rows]
    return pl.DataFrame(full, schema=SERIES_COLUMNS, orient="row")


def roles_of(*keys, overrides=None):
    """The role of each key, each in a run of its own."""
    found = series_roles(series(*((key, key) for key in keys)), overrides)
    return dict(found.select("key", "role").rows())


def chosen(*rows):
    return {role: key for _, key, role, _ in series_roles(series(*rows)).rows()}


def test_names_of_training_losses():
    keys = [
        "loss",
        "train_loss",
        "train/loss",
        "trainLoss",
        "Loss/train",
        "train loss_step",
        "batch_loss",
        "total_loss",
    ]
    keys += [
        "training/nll_loss",
        "cross_entropy_loss",
        "train_cross_entropy",
        "train-logloss",
        "train_mse",
        "objective",
    ]
    assert roles_of(*keys) == dict.fromkeys(keys, "training_loss")


def test_names_of_validation_losses():
    keys = [
        "val_loss",
        "validation loss",
        "valid_loss",
        "eval_loss",
        "epoch_val_loss",
        "Loss/val",
        "ValLoss",
        "eval/loss",
    ]
    keys += ["val_loss_step", "validation-rmse", "test_loss"]
    assert roles_of(*keys) == dict.fromkeys(keys, "validation_loss")


def test_names_of_learning_rates():
    keys = ["lr", "learning_rate", "learningRate", "Learning Rate", "train/learning_rate", "optimizer/lr", "lr/pg0"]
    keys += ["lr_1", "lr-Adam", "lr-AdamW/pg1", "lr-SGD", "charts/learning_rate", "lr_epoch"]
    assert roles_of(*keys) == dict.fromkeys(keys, "learning_rate")


def test_names_that_only_look_like_a_role():
    keys = ["lr_loss", "learning_rate_error", "lr_ratio", "log_lr", "lr-SGD-momentum", "lr_accuracy", "min_lr", "lrs"]
    keys += [
        "loss_scale",
        "loss_weight",
        "best_val_loss",
        "min_loss",
        "final_loss",
        "lossless",
        "grad_norm",
        "val_accuracy",
    ]
    keys += ["entropy", "epoch", "momentum", "train_runtime", "early_stopping_loss_delta"]
    assert roles_of(*keys) == {}


def test_what_could_have_a_role_is_named_generously():
    keys = ["epoch", "lr-AdamW", "lr/pg0", "train/box_loss", "perplexity", "mse_gen", "accuracy", "grad_norm", "f1"]
    keys += ["system/cpu_utilization_percentage", "best_score", "wait_count", "learningRate", "criterion_value"]
    assert possible_names(keys) == sorted(
        ["epoch", "lr-AdamW", "lr/pg0", "train/box_loss", "perplexity", "mse_gen", "learningRate", "criterion_value"]
    )
    overrides = {"f1": "training_loss", "lr/*": IGNORED, "*box*": IGNORED}
    assert possible_names(["f1", "lr/pg0", "train/box_loss", "loss"], overrides) == ["f1", "loss"]


def test_the_plainest_name_wins():
    assert chosen(
        ("a", "train_mse"), ("a", "train/box_loss"), ("a", "loss"), ("a", "train_loss"), ("a", "val/box_loss"),
        ("a", "val_loss_step"), ("a", "val_loss"), ("a", "test_loss"), ("a", "lr/pg1"), ("a", "lr/pg0"),
    ) == {"training_loss": "train_loss", "validation_loss": "val_loss", "learning_rate": "lr/pg0"}  # fmt: skip


def test_a_summary_value_does_not_replace_the_curve():
    # transformers logs the curve as `loss` and, once at the end, its mean as `train_loss`.
    assert chosen(("a", "train_loss", 1), ("a", "loss", 187)) == {"training_loss": "loss"}


def test_a_long_series_of_batches_is_better_than_a_few_epochs():
    assert chosen(("a", "train_loss", 5), ("a", "batch_loss", 50)) == {"training_loss": "batch_loss"}
    assert chosen(("a", "train_loss", 10), ("a", "batch_loss", 50)) == {"training_loss": "train_loss"}


def test_more_points_decide_between_names_of_one_kind():
    assert chosen(("a", "train_loss_epoch", 20), ("a", "train_loss_step", 5881)) == {"training_loss": "train_loss_step"}


def test_the_alphabet_decides_last():
    assert chosen(("a", "train/cls_loss"), ("a", "train/box_loss")) == {"training_loss": "train/box_loss"}


def test_a_constant_part_of_a_loss_gives_way_to_one_that_says_something():
    assert chosen(("a", "train/box_loss", 23, 0, 0.0, 0.0), ("a", "train/cls_loss", 23)) == {
        "training_loss": "train/cls_loss"
    }


def test_a_loss_that_is_not_a_number_from_the_start_keeps_its_role():
    rows = [("a", "train_loss", 0, 40, None, None), ("a", "train_mse", 3, 37, 1.0, 1.0)]
    assert chosen(*rows) == {"training_loss": "train_loss"}


def test_a_negative_or_zero_series_is_no_rate():
    assert chosen(("a", "lr", 50, 0, -4.0, -2.0)) == {}
    assert chosen(("a", "lr", 50, 0, 0.0, 0.0)) == {}
    assert chosen(("a", "lr", 0, 50, None, None)) == {}


def test_the_reason_says_what_decided():
    rows = series(("a", "train/box_loss"), ("a", "test_loss"), ("a", "lr"), ("b", "mse"), ("c", "loss"), ("d", "score"))
    assert {(run, role): reason for run, _, role, reason in series_roles(rows, {"score": "training_loss"}).rows()} == {
        ("a", "training_loss"): "part of a loss",
        ("a", "validation_loss"): "test loss taken as validation loss",
        ("a", "learning_rate"): "named a learning rate",
        ("b", "training_loss"): "error criterion",
        ("c", "training_loss"): "named a loss",
        ("d", "training_loss"): "override",
    }


def test_an_override_comes_before_every_rule():
    rows = series(("a", "train_loss", 500), ("a", "energy", 12, 0, -3.0, -1.0), ("a", "lr"))
    found = series_roles(rows, {"energy": "training_loss", "lr": IGNORED})
    assert found.rows() == [("a", "energy", "training_loss", "override")]


def test_an_override_must_name_a_role():
    with pytest.raises(ValueError, match=r"the role of 'x' must be one of training_loss, .*; got 'loss'"):
        series_roles(series(("a", "x")), {"x": "loss"})


def test_missing_columns_are_named():
    with pytest.raises(
        ValueError, match=r"series must have the columns .*; missing: points; of another type: key is Int64"
    ):
        series_roles(series(("a", "loss")).drop("points").with_columns(key=pl.lit(1, pl.Int64)))


def test_no_series_give_no_roles():
    found = series_roles(series())
    assert found.is_empty()
    assert found.columns == ["run_id", "key", "role", "reason"]


NAMES = [
    "loss",
    "train_loss",
    "val_loss",
    "test_loss",
    "lr",
    "lr/pg0",
    "train/box_loss",
    "mse",
    "accuracy",
    "loss_scale",
]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(NAMES), st.integers(0, 30)),
        unique_by=lambda row: row[:2],
        max_size=20,
    ),
    st.randoms(),
)
def test_roles_do_not_depend_on_the_order_of_rows_and_no_run_has_two_of_one(rows, random):
    expected = series_roles(series(*rows))
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert series_roles(series(*shuffled)).equals(expected)
    assert not expected.select("run_id", "role").is_duplicated().any()
