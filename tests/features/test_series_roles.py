import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.series_names import IGNORED
from features.series_roles import SERIES_COLUMNS, judged_series, possible_names, series_roles


def series(*rows):
    """Rows of (run, key, points, non-finite, minimum, maximum, whole numbers), cut off after the key or later."""
    full = [(*row, *(50, 0, 0.1, 2.0, False)[len(row) - 2 :]) for row in rows]
    return pl.DataFrame(full, schema=SERIES_COLUMNS, orient="row")


def roles_of(*keys, overrides=None):
    """The role of each key, each in a run of its own."""
    found = series_roles(series(*((key, key) for key in keys)), overrides)
    return dict(found.select("key", "role").rows())


def chosen(*rows):
    """Role -> key, or keys where there are parts."""
    found = {}
    for _, key, role, _, _ in series_roles(series(*rows)).rows():
        found[role] = [*found.get(role, []), key]
    return {role: keys[0] if len(keys) == 1 else keys for role, keys in found.items()}


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
    keys += ["lr_1", "lr-Adam", "lr-AdamW/pg1", "lr-SGD", "charts/learning_rate", "lr_epoch", "x/lr0", "lrs"]
    keys += ["lr-DecoupledAdamW/group0", "lr_backbone", "learning_rate_generator"]
    assert roles_of(*keys) == dict.fromkeys(keys, "learning_rate")


def test_names_that_only_look_like_a_role():
    keys = [
        "lr_loss",
        "learning_rate_error",
        "lr_ratio",
        "log_lr",
        "lr-SGD-momentum",
        "lr_accuracy",
        "min_lr",
        "lr_finder",
    ]
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
    keys += ["entropy", "epoch_time", "num_epochs", "momentum", "train_runtime", "early_stopping_loss_delta"]
    keys += ["lr-AdamW-weight_decay", "loss_ce_unscaled", "wait_count", "best_score", "stopped_epoch"]
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
    assert chosen(("a", "loss_2"), ("a", "loss_1")) == {"training_loss": "loss_1"}


def test_parts_of_a_loss_that_has_no_total_are_summed():
    parts = ["train/box_loss", "train/cls_loss", "train/dfl_loss"]
    rows = series(*(("a", key) for key in parts), ("a", "val/box_loss"), ("a", "val/cls_loss"), ("a", "metrics/mAP50"))
    assert series_roles(rows).rows() == [
        ("a", "train/box_loss", "training_loss", 0.8, "part of a loss, summed with train/cls_loss, train/dfl_loss"),
        ("a", "train/cls_loss", "training_loss", 0.8, "part of a loss, summed with train/box_loss, train/dfl_loss"),
        ("a", "train/dfl_loss", "training_loss", 0.8, "part of a loss, summed with train/box_loss, train/cls_loss"),
        ("a", "val/box_loss", "validation_loss", 0.8, "part of a loss, summed with val/cls_loss"),
        ("a", "val/cls_loss", "validation_loss", 0.8, "part of a loss, summed with val/box_loss"),
    ]


def test_a_total_stands_alone_beside_its_parts():
    assert chosen(("a", "total_loss"), ("a", "loss_cls"), ("a", "loss_box_reg")) == {"training_loss": "total_loss"}
    assert chosen(("a", "train_loss"), ("a", "train_dice_loss"), ("a", "train_ce_loss")) == {
        "training_loss": "train_loss"
    }


def test_parts_are_summed_with_those_of_their_split_and_their_steps_only():
    rows = [("a", key, 50) for key in ("val/box_loss", "val/cls_loss", "test/box_loss", "test/cls_loss")]
    assert chosen(*rows) == {"validation_loss": ["val/box_loss", "val/cls_loss"]}
    rows = [("a", "train/box_loss", 100), ("a", "train/cls_loss", 101), ("a", "train/center_loss", 20)]
    assert chosen(*rows) == {"training_loss": ["train/box_loss", "train/cls_loss"]}
    rows = [("a", f"{part}_loss_{grain}") for part in ("box", "cls") for grain in ("step", "epoch")]
    assert chosen(*rows) == {"training_loss": ["box_loss_epoch", "cls_loss_epoch"]}


def test_what_is_weighed_or_unscaled_is_no_part():
    rows = [("a", key) for key in ("box_loss", "cls_loss", "box_loss_weight", "cls_loss_unscaled")]
    assert chosen(*rows) == {"training_loss": ["box_loss", "cls_loss"]}


def test_two_measures_of_one_error_are_not_summed():
    assert chosen(("a", "train_mse"), ("a", "train_mae"), ("a", "train_rmse")) == {"training_loss": "train_mae"}


def test_folds_and_loaders_are_not_summed():
    assert chosen(("a", "fold_1/train_loss"), ("a", "fold_0/train_loss")) == {"training_loss": "fold_0/train_loss"}
    found = series_roles(series(("a", "val_loss/dataloader_idx_0"), ("a", "val_loss/dataloader_idx_1")))
    assert found.select("key", "confidence").rows() == [("val_loss/dataloader_idx_0", 0.5)]


def test_of_two_players_one_is_taken_with_little_confidence():
    for keys, taken in [
        (("mse_gen", "mse_disc"), "mse_gen"),
        (("d_loss", "g_loss"), "g_loss"),
        (("critic_loss", "generator_loss"), "generator_loss"),
        (("train/actor_loss", "train/critic_loss"), "train/critic_loss"),
        (("train/policy_loss", "train/value_loss", "train/entropy_loss"), "train/value_loss"),
    ]:
        found = series_roles(series(*(("a", key) for key in keys)))
        assert found.select("key", "confidence").rows() == [(taken, 0.3)]


def test_of_the_groups_of_a_rate_the_most_usual_is_taken():
    # The biases of YOLO start at a tenth and come down; the two others warm up.
    groups = [("lr/pg0", 50, 0, 0.001, 0.1), ("lr/pg1", 50, 0, 0.0001, 0.01), ("lr/pg2", 50, 0, 0.0001, 0.01)]
    assert chosen(*(("a", *group) for group in groups)) == {"learning_rate": "lr/pg1"}
    from_the_same_height = [("lr/pg0", 50, 0, 0.001, 0.1), ("lr/pg1", 50, 0, 0.0001, 0.1)]
    assert chosen(*(("a", *group) for group in from_the_same_height)) == {"learning_rate": "lr/pg1"}


def test_an_epoch_beside_the_steps_has_a_role():
    assert chosen(("a", "epoch", 60, 0, 0.0, 3.0), ("a", "loss")) == {"epoch": "epoch", "training_loss": "loss"}
    assert chosen(("a", "trainer/epoch", 60, 0, 0.0, 9.0, True)) == {"epoch": "trainer/epoch"}
    assert chosen(("a", "epoch", 1, 0, 4.0, 4.0, True)) == {}
    assert chosen(("a", "epoch", 9, 0, -1.0, 4.0, True)) == {}


def test_a_loss_that_is_not_a_number_from_the_start_keeps_its_role():
    rows = [("a", "train_loss", 0, 40, None, None), ("a", "train_mse", 3, 37, 1.0, 1.0)]
    assert chosen(*rows) == {"training_loss": "train_loss"}


def test_a_negative_or_zero_series_is_no_rate():
    assert chosen(("a", "lr", 50, 0, -4.0, -2.0)) == {}
    assert chosen(("a", "lr", 50, 0, 0.0, 0.0)) == {}
    assert chosen(("a", "lr", 0, 50, None, None)) == {}


def test_a_counter_is_no_rate():
    assert chosen(("a", "lr_step", 50, 0, 0.0, 49.0, True)) == {}
    assert chosen(("a", "lr", 50, 0, 0.5, 250.0)) == {}
    assert chosen(("a", "lr", 50, 0, 1.0, 1.0, True)) == {"learning_rate": "lr"}


def test_a_loss_logged_once_has_a_role_only_where_there_is_nothing_better():
    assert chosen(("a", "train_loss", 1), ("a", "val_loss", 50)) == {"validation_loss": "val_loss"}
    found = series_roles(series(("a", "train_loss", 1), ("a", "val_loss", 1)))
    assert found.select("key", "confidence").rows() == [("train_loss", 0.2), ("val_loss", 0.2)]


def test_the_reason_says_what_decided_and_how_sure_it_is():
    rows = series(
        ("a", "train/box_loss"), ("a", "test_loss"), ("a", "lr"), ("a", "epoch"), ("b", "mse"), ("c", "loss"),
        ("d", "score"), ("d", "lr", 1), ("e", "lr/pg0"), ("e", "lr/pg1"), ("e", "loss", 1),
    )  # fmt: skip
    found = series_roles(rows, {"score": "training_loss"}).rows()
    assert {(run, role): (confidence, reason) for run, _, role, confidence, reason in found} == {
        ("a", "training_loss"): (0.6, "named a part of a loss, of which no other is logged"),
        ("a", "validation_loss"): (0.6, "test loss taken as validation loss"),
        ("a", "learning_rate"): (0.95, "named a learning rate"),
        ("a", "epoch"): (0.95, "named an epoch"),
        ("b", "training_loss"): (0.7, "error criterion"),
        ("c", "training_loss"): (0.9, "named a loss"),
        ("d", "training_loss"): (1.0, "override"),
        ("d", "learning_rate"): (0.6, "named a learning rate; logged once: constant, or where it starts"),
        ("e", "learning_rate"): (0.9, "named a learning rate; the most usual of 2 groups"),
        ("e", "training_loss"): (0.2, "named a loss; logged once"),
    }


def test_every_series_without_a_role_has_a_reason():
    rows = series(
        ("a", "loss"), ("a", "train_loss", 1), ("a", "batch_mse"), ("a", "lr", 50, 0, -5.0, -2.0), ("a", "loss_scale"),
        ("a", "accuracy"), ("a", "epoch", 1), ("a", "lr_step", 50, 0, 0.0, 49.0, True), ("a", "val_loss"),
    )  # fmt: skip
    judged = judged_series(rows, {"val_*": IGNORED})
    assert len(judged) == len(rows)
    assert dict(judged.filter(pl.col("role").is_null()).select("key", "reason").rows()) == {
        "train_loss": "logged once: a mean or a summary, no curve",
        "batch_mse": "'loss' was taken as training loss",
        "lr": "named a rate, but below zero or never above it",
        "loss_scale": "named after a loss or a rate, but tells something else of it",
        "accuracy": "named like no loss, no rate and no epoch",
        "epoch": "an epoch logged once maps no steps",
        "lr_step": "named a rate, but counts or is too high for one",
        "val_loss": "ignored in the settings",
    }
    assert judged.filter(pl.col("role").is_null())["confidence"].null_count() == 8


def test_an_override_comes_before_every_rule():
    rows = series(("a", "train_loss", 500), ("a", "energy", 3, 0, -3.0, -1.0), ("a", "lr"))
    found = series_roles(rows, {"energy": "training_loss", "lr": IGNORED})
    assert found.rows() == [("a", "energy", "training_loss", 1.0, "override")]


def test_an_override_may_be_a_glob_and_the_very_name_comes_first():
    rows = series(("a", "ctc_loss"), ("a", "kl_loss"), ("a", "loss"), ("a", "loss[0]"))
    overrides = {"*_loss": "training_loss", "kl_loss": IGNORED, "loss[0]": "validation_loss", "loss": IGNORED}
    assert series_roles(rows, overrides).select("key", "role").rows() == [
        ("ctc_loss", "training_loss"),
        ("loss[0]", "validation_loss"),
    ]


def test_several_series_said_to_be_one_loss_are_summed():
    rows = series(("a", "content", 40), ("a", "style", 50), ("a", "loss"))
    assert series_roles(rows, {"content": "training_loss", "style": "training_loss"}).rows() == [
        ("a", "content", "training_loss", 1.0, "override: part of a loss, summed with style"),
        ("a", "style", "training_loss", 1.0, "override: part of a loss, summed with content"),
    ]


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
    assert found.columns == ["run_id", "key", "role", "confidence", "reason"]


# fmt: off
NAMES = [
    "loss", "train_loss", "val_loss", "test_loss", "lr", "lr/pg0", "lr/pg1", "train/box_loss", "train/cls_loss",
    "g_loss", "d_loss", "mse", "epoch", "accuracy", "loss_scale", "fold_0/loss", "fold_1/loss",
]
# fmt: on


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(NAMES), st.integers(0, 30)),
        unique_by=lambda row: row[:2],
        max_size=25,
    ),
    st.randoms(),
)
def test_roles_do_not_depend_on_the_order_of_rows_and_only_parts_share_one(rows, random):
    expected = series_roles(series(*rows))
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert series_roles(series(*shuffled)).equals(expected)
    shared = expected.filter(pl.len().over("run_id", "role") > 1)
    assert shared["reason"].str.starts_with("part of a loss, summed with ").all()
    assert set(shared["role"]) <= {"training_loss", "validation_loss"}
    judged = judged_series(series(*rows)).select("run_id", "key").rows()
    assert sorted(judged) == sorted(row[:2] for row in rows)
