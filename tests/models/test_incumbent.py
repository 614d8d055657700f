import pytest

from greedylr.schedules import CONTROLS
from models.incumbent import control_for, find_incumbent, usual_rate


@pytest.mark.parametrize(
    ("name", "control"),
    [
        ("CosineAnnealingLR", "cosine"),
        ("torch.optim.lr_scheduler.CosineAnnealingLR", "cosine"),
        ("cosine", "cosine"),
        ("get_cosine_schedule_with_warmup", "cosine"),
        ("linear_warmup_cosine_decay", "cosine"),
        ("linear", "linear"),
        ("get_linear_schedule_with_warmup", "linear"),
        ("constant", "constant"),
        ("constant_with_warmup", "constant"),
        ("None", "constant"),
        ("none", "constant"),
        ("StepLR", "step"),
        ("MultiStepLR", "step"),
        ("OneCycleLR", "one_cycle"),
        ("one_cycle", "one_cycle"),
        ("reduce_on_plateau", "plateau"),
        ("reduce_lr_on_plateau", "plateau"),
        ("ReduceLROnPlateau", "plateau"),
        ("inverse_sqrt", "inverse_sqrt"),
        ("warmup_stable_decay", "wsd"),
        ("GreedyLR", "greedy_transformers"),
    ],
)
def test_names_of_schedulers_stand_for_controls(name: str, control: str) -> None:
    assert control_for(name) == control
    assert control in CONTROLS


@pytest.mark.parametrize(
    "name",
    [
        "LinearLR",
        "linear_warmup",
        "CosineAnnealingWarmRestarts",
        "cosine_with_restarts",
        "ExponentialLR",
        "LambdaLR",
        "polynomial",
        "other",
        "warmup",
        "",
        "<torch.optim.lr_scheduler.StepLR object at 0x7f00>",
    ],
)
def test_what_a_name_does_not_settle_stands_for_no_control(name: str) -> None:
    assert control_for(name) is None


def test_the_incumbent_is_the_prevailing_schedule_at_its_usual_rate() -> None:
    incumbent, reason = find_incumbent(
        ["StepLR"] * 4 + ["cosine"] * 2,
        [0.1, 0.3, 0.3, 3.0, 0.01, 0.01],
        [True, True, True, False, True, True],
    )
    assert reason == ""
    assert incumbent is not None
    assert (incumbent.schedule_name, incumbent.control, incumbent.learning_rate, incumbent.runs) == (
        "StepLR",
        "step",
        0.3,
        4,
    )
    assert incumbent.schedule == CONTROLS["step"]


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ([None, None, None], "no run names its schedule"),
        (["cosine", "cosine"], "the most frequent is 'cosine' with 2 of 2"),
        (["cosine", "linear"] * 5, "no schedule prevails"),
        (["cosine"] * 3 + [None] * 5, "the most frequent is 'cosine' with 3 of 8"),
        (["CyclicLR"] * 5, "the prevailing schedule 'CyclicLR' is none that can be retrained by its name"),
    ],
)
def test_without_a_prevailing_known_schedule_there_is_no_incumbent(schedules: list[str | None], said: str) -> None:
    incumbent, reason = find_incumbent(schedules, [0.1] * len(schedules), [True] * len(schedules))
    assert incumbent is None
    assert said in reason


def test_a_prevailing_schedule_that_never_survived_is_no_incumbent() -> None:
    incumbent, reason = find_incumbent(["cosine"] * 3, [9.0, None, None], [False, True, True])
    assert incumbent is None
    assert "survived with a known starting rate" in reason


def test_the_usual_rate_is_the_most_frequent_one() -> None:
    assert usual_rate([0.1, 0.1, 3.0, None]) == 0.1
    assert usual_rate([0.1, 1.0, 0.3]) == 0.3
    assert usual_rate([0.1, 1.0, 0.3, 0.01]) == 0.1
    assert usual_rate([None]) is None
