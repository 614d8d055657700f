import polars as pl
import pytest

from features.declared_settings import PARAM_COLUMNS, declared_settings


def declared(**params):
    """What one run declares; the keys of `params` are written with "__" for "."."""
    rows = [("a", key.replace("__", "."), value) for key, value in params.items()]
    frame = declared_settings(pl.DataFrame(rows, schema=PARAM_COLUMNS, orient="row"))
    return frame.row(0, named=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("SGD", "sgd"),
        ("adamw_torch_fused", "adamw"),
        ("torch.optim.Adam", "adam"),
        ("<class 'torch.optim.rmsprop.RMSprop'>", "rmsprop"),
        ("AdamW (\nParameter Group 0\n    amsgrad: False\n    lr: 0.001\n)", "adamw"),
        ("{'type': 'SGD', 'momentum': 0.9}", "sgd"),
        ("my_optimizer-v2", "my_optimizer-v2"),
        ("FusedAdam", "adam"),
        ("Lion", "lion"),
        ("SGD with momentum", "sgd"),
        ("auto", None),
        ("<function <lambda> at 0x7f>", None),
        ("True", None),
        ("None", None),
        ("<function build at 0x7f>", None),
    ],
)
def test_optimizers_have_one_spelling(value, expected):
    assert declared(optimizer=value)["optimizer"] == expected


@pytest.mark.parametrize(
    "key", ["optimizer", "optim", "opt", "optimizer_name", "optimizer__name", "optimizer___target_", "train__optimizer"]
)
def test_names_under_which_an_optimizer_is_found(key):
    assert declared(**{key: "sgd"})["optimizer"] == "sgd"


@pytest.mark.parametrize("key", ["optim_args", "optim_target_modules", "use_optimizer", "optimize", "optimizer_steps"])
def test_names_that_only_look_like_an_optimizer(key):
    assert declared(**{key: "sgd"})["optimizer"] is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("lr", "0.1", 0.1),
        ("learning-rate", "3e-05", 3e-05),
        ("learningRate", "1E-3", 1e-3),
        ("base_lr", "0.5", 0.5),
        ("lr0", "0.01", 0.01),
        ("optimizer__lr", "0.2", 0.2),
        ("config__train__learning_rate", "0.2", 0.2),
        ("learning_rate_init", "0.001", 0.001),
        ("lr", "[0.1]", 0.1),
        ("lr", "0", None),
        ("lr", "-0.1", None),
        ("lr", "inf", None),
        ("lr", "nan", None),
        ("learning_rate", "constant", None),
        ("lr", "[0.1, 0.2]", None),
        ("min_lr", "0.1", None),
        ("warmup_bias_lr", "0.1", None),
        ("lr_decay", "0.1", None),
        ("fliplr", "0.5", None),
    ],
)
def test_rates(key, value, expected):
    assert declared(**{key: value})["rate"] == expected


def test_the_plainest_usable_rate_wins():
    assert declared(optimizer__lr="0.3", base_lr="0.2", lr="0.1")["rate"] == 0.1
    assert declared(learning_rate="adaptive", learning_rate_init="0.01")["rate"] == 0.01


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("scheduler", "CosineAnnealingLR", "cosine"),
        ("lr_scheduler", "{'type': 'cosine_annealing', 'T_max': 100}", "cosine"),
        ("lr_scheduler_type", "linear", "linear"),
        ("schedule", "StepLR", "step"),
        ("scheduler", "OneCycleLR", "one-cycle"),
        ("scheduler", "ReduceLROnPlateau", "plateau"),
        ("lr_schedule", "warmup_stable_decay", "wsd"),
        ("scheduler", "None", None),
        ("scheduler", "off", "constant"),
        ("scheduler", "constant", "constant"),
        ("scheduler__name", "inverse_sqrt", "inverse-square-root"),
        ("scheduler", "GreedyLR", "greedylr"),
        ("scheduler", "ours", "ours"),
        ("scheduler", "True", None),
        ("lr_scheduler_kwargs", "cosine", None),
    ],
)
def test_schedules_have_one_spelling(key, value, expected):
    assert declared(**{key: value})["schedule"] == expected


@pytest.mark.parametrize(
    ("key", "value", "steps", "epochs"),
    [
        ("max_steps", "500", 500, None),
        ("total_steps", "1e3", 1000, None),
        ("num_train_epochs", "3.0", None, 3),
        ("trainer__max_epochs", "20", None, 20),
        ("epoch", "20", None, 20),
        ("max_steps", "-1", None, None),
        ("warmup_steps", "93", None, None),
        ("eval_steps", "100", None, None),
        ("gradient_accumulation_steps", "4", None, None),
        ("warmup_epochs", "3", None, None),
    ],
)
def test_lengths(key, value, steps, epochs):
    found = declared(**{key: value})
    assert (found["steps"], found["epochs"]) == (steps, epochs)


def test_each_run_has_one_row_and_its_own_values():
    rows = [("b", "lr", "0.2"), ("a", "lr", "0.1"), ("a", "batch_size", "32"), ("c", "batch_size", "32")]
    found = declared_settings(pl.DataFrame(rows, schema=PARAM_COLUMNS, orient="row"))
    assert found.select("run_id", "rate").rows() == [("a", 0.1), ("b", 0.2), ("c", None)]


def test_no_params_declare_nothing():
    found = declared_settings(pl.DataFrame(schema=PARAM_COLUMNS))
    assert found.is_empty()
    assert found.columns == ["run_id", "optimizer", "rate", "schedule", "steps", "epochs"]
