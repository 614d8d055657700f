import polars as pl
import pytest
import torch

from features.declared_settings import PARAM_COLUMNS, declared_settings
from features.nested_params import with_nested


def added(value: str, key: str = "optimizer") -> dict[str, str]:
    """What one param holds inside."""
    params = pl.DataFrame([("a", key, value)], schema=PARAM_COLUMNS, orient="row")
    return dict(with_nested(params).slice(1).select("key", "value").iter_rows())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{'lr': 0.001, 'weight_decay': None}", {"optimizer/lr": "0.001", "optimizer/weight_decay": "None"}),
        ('{"lr": 0.001, "nesterov": true}', {"optimizer/lr": "0.001", "optimizer/nesterov": "True"}),
        ("{'a': {'b': {'lr': 1}}}\n", {"optimizer/a/b/lr": "1"}),
        ("{'milestones': [10, 20]}", {"optimizer/milestones": "[10, 20]"}),
        ("{'lr': 0.001, 'model': <Net object at 0x7f>}", {}),
        ("{'lr': 0.001, 'cut o", {}),
        ("{'lr': __import__('os').getpid()}", {}),
        ("{" * 5000, {}),
        ("[0.1]", {}),
        ("Adam", {}),
    ],
)
def test_settings_inside_of_a_text_are_params_of_their_own(value: str, expected: dict[str, str]) -> None:
    assert added(value) == expected


def printed(scheduler: bool = False, second: float | None = None) -> str:
    """A real optimizer of torch as text."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]}]
    if second is not None:
        groups.append({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": second})
    optimizer = torch.optim.Adam(groups, lr=0.003)
    if scheduler:
        step = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
        optimizer.step()
        step.step()
    return str(optimizer)


def test_a_printed_optimizer_tells_its_rate() -> None:
    assert added(printed())["optimizer/lr"] == "0.003"
    assert added(printed(second=0.003))["optimizer/lr"] == "0.003"


def test_groups_of_different_rates_tell_none() -> None:
    assert "optimizer/lr" not in added(printed(second=0.1))


def test_a_printed_optimizer_tells_that_a_scheduler_holds_it() -> None:
    found = added(printed(scheduler=True))
    assert (found["optimizer/lr"], found["optimizer/scheduler_attached"]) == ("0.003", "True")


def test_a_rate_inside_of_a_text_is_declared() -> None:
    rows = [("a", "model_params", "{'layers': 4, 'lr': 0.01, 'epochs': 500}"), ("b", "optimizer", printed())]
    found = declared_settings(pl.DataFrame(rows, schema=PARAM_COLUMNS, orient="row"))
    assert found.select("rate", "epochs", "optimizer").rows() == [(0.01, 500, None), (0.003, None, "adam")]
