import sys

import pytest

from greedylr.schedules import CONTROLS, NAMED_CONTROLS
from models.contenders import CONTENDERS, CONTROL_CONTENDERS, METHOD_CONTENDERS, contenders
from models.retraining.methods import METHODS


def test_every_named_control_contends_with_its_own_schedule() -> None:
    assert list(CONTROL_CONTENDERS) == list(CONTROLS)
    for name, schedule in NAMED_CONTROLS.items():
        assert (CONTENDERS[name].schedule, CONTENDERS[name].method) == (schedule, "schedule")


def test_every_method_contends_under_its_own_name() -> None:
    assert [*METHOD_CONTENDERS] == [method for method in METHODS if method != "schedule"]
    assert all(name == contender.method for name, contender in METHOD_CONTENDERS.items())


def test_contenders_are_found_by_name_in_the_order_asked_for() -> None:
    found = contenders(["cosine_restarts", "cosine"])
    assert list(found) == ["cosine_restarts", "cosine"]
    configuration = found["cosine"].configuration("cosine", 0.3)
    assert (configuration.name, configuration.learning_rate) == ("cosine", 0.3)
    assert configuration.schedule == CONTROLS["cosine"]


def test_unknown_contender_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"can be compared with constant, linear, cosine, .*, got 'sine'"):
        contenders(["cosine", "sine"])


def test_contender_whose_package_is_absent_is_refused_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(ValueError, match="'prodigy' needs the package 'prodigyopt', which is not installed"):
        contenders(["cosine", "prodigy"])
