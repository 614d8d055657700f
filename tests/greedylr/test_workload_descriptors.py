import math
from typing import Any

import pytest

from greedylr import WorkloadDescriptors


def descriptors(**changes: Any) -> WorkloadDescriptors:
    values: dict[str, Any] = {
        "name": "digits",
        "family": "digits",
        "total_steps": 400,
        "batch_size": 32,
        "usual_learning_rate": 0.1,
    }
    return WorkloadDescriptors(**{**values, **changes})


def test_optimizer_is_sgd_with_momentum_unless_told_otherwise() -> None:
    assert (descriptors().optimizer, descriptors().momentum) == ("sgd", 0.9)
    assert descriptors(momentum=0.0).momentum == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lion"}, "optimizer must be one of 'sgd', 'adam', 'adamw', got 'lion'"),
        ({"total_steps": 0}, "total_steps must be an integer >= 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be an integer >= 1, got 1.5"),
        ({"momentum": -0.1}, "momentum must be a finite number >= 0, got -0.1"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0; with 1 nothing old is ever forgotten"),
        ({"beta2": 1.0}, r"beta2 must lie in \[0, 1\), got 1.0"),
        ({"epsilon": 0}, "epsilon must be > 0, got 0; Adam divides by it"),
        ({"weight_decay": -0.1}, "weight_decay must be a finite number >= 0, got -0.1"),
        ({"max_gradient_norm": 0.0}, "max_gradient_norm must be > 0, got 0; None does not clip"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov=True needs sgd with a momentum, got 'sgd' with momentum 0.0"),
        ({"nesterov": True, "optimizer": "adam"}, "nesterov=True needs sgd with a momentum, got 'adam'"),
        ({"usual_learning_rate": 0.0}, "usual_learning_rate must be > 0, got 0; the grid of rates is laid around it"),
        ({"usual_learning_rate": math.inf}, "usual_learning_rate must be a finite number >= 0, got inf"),
        ({"usual_learning_rate": True}, "usual_learning_rate must be a finite number >= 0, got True"),
    ],
)
def test_descriptor_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        descriptors(**changes)
