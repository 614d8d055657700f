import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from toy_workloads import Bowl, OneByOne

from greedylr.schedules import CONTROLS, Envelope, Schedule
from greedylr.workload import Workload
from models.contenders import CONTENDERS, METHOD_CONTENDERS
from models.methods.hypergradient import HypergradientDescent
from models.methods.line_search import LineSearch
from models.methods.polyak import PolyakStep
from models.retraining.execution import run_job
from models.retraining.job import Configuration, Job, WorkloadReference
from models.retraining.methods import ONE_BY_ONE, Method
from models.retraining.trainers import trainer_of
from models.workloads.reference import REFERENCES

BATCHED = [name for name, contender in METHOD_CONTENDERS.items() if contender.method not in ONE_BY_ONE]


@pytest.fixture(params=["mnist-mlp", "digits-nmf"])
def workload(request: pytest.FixtureRequest, reference_data: Callable[[str], Mapping[str, Any]]) -> Workload:
    reference = REFERENCES[request.param]
    return reference.make(1, "cpu", reference_data(reference.dataset))


@pytest.mark.parametrize("name", BATCHED)
def test_replicas_together_equal_replicas_one_by_one(name: str, workload: Workload) -> None:
    method = METHOD_CONTENDERS[name].method
    rates = [workload.descriptors.usual_learning_rate * multiple for multiple in (1 / 9, 1 / 3, 1.0)]
    schedules = [Schedule().resolve(40)] * 3
    alone = OneByOne(workload)
    together = trainer_of(method, workload)(workload, schedules, rates, dtype=torch.float64)
    single = trainer_of(method, alone)(alone, schedules, rates, dtype=torch.float64)
    for field in ("losses", "rates", "selection_loss", "reporting_loss"):
        np.testing.assert_allclose(getattr(together, field), getattr(single, field), rtol=1e-9, err_msg=field)
    assert together.diverged_step.tolist() == single.diverged_step.tolist() == [-1, -1, -1]


def test_one_job_trains_schedules_and_all_methods_and_keeps_their_order(digits: Mapping[str, Any]) -> None:
    names = ["line_search", "cosine", *METHOD_CONTENDERS, "exponential"]
    configurations = tuple(
        Configuration(
            name=f"{name}-{place}",
            schedule=CONTENDERS[name].schedule,
            learning_rate=0.02 + 0.01 * place,
            method=CONTENDERS[name].method,
        )
        for place, name in enumerate(names)
    )
    told: list[int] = []
    job = Job(
        workload=WorkloadReference(reference="mnist-mlp"), total_steps=60, configurations=configurations, seeds=(1,)
    )
    result = run_job(job, digits, progress=lambda _, done, total: told.append(done))
    assert [row.name for row in result.rows] == [each.name for each in configurations]
    assert all(row.reporting_loss is not None and row.reporting_loss < 2.4 for row in result.rows)
    assert result.curves.rates[:2, 0, 0] == pytest.approx([0.0212, 0.015], rel=0.01)
    assert told == list(range(len(configurations) + 1))


@pytest.mark.parametrize("method", [contender.method for contender in METHOD_CONTENDERS.values()])
def test_loss_falls_by_every_method(method: Method, workload: Workload) -> None:
    trainer = trainer_of(method, workload)
    # Rates that follow their gradients begin low.
    rate = workload.descriptors.usual_learning_rate * (0.1 if method.startswith("hypergradient") else 1.0)
    record = trainer(workload, [CONTENDERS[method].schedule.resolve(60)], [rate])
    assert record.losses[-5:].mean() < 0.8 * record.losses[:5].mean()


@pytest.mark.parametrize(
    ("method", "schedule", "message"),
    [
        ("line_search", CONTROLS["cosine"], "'line_search' sets its rates itself and takes the constant schedule"),
        ("prodigy", CONTROLS["plateau"], "'prodigy' takes an envelope at most, got a rule"),
        ("newton", Schedule(), "method must be one of 'schedule', 'hypergradient', .*, got 'newton'"),
    ],
)
def test_method_with_a_schedule_that_it_does_not_follow_is_refused(method: Any, schedule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Configuration(name="a", schedule=schedule, learning_rate=0.1, method=method)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LineSearch(c=1.0), r"c must lie in \(0, 1\), got 1.0; the authors' are c=0.1"),
        (lambda: LineSearch(reduction=0.0), r"reduction must lie in \(0, 1\), got 0.0"),
        (lambda: LineSearch(growth=0.5), "growth must be a finite number >= 1, got 0.5"),
        (lambda: LineSearch(most_trials=0), "most_trials must be an integer >= 1, got 0"),
        (lambda: PolyakStep(c=0.0), "c must be finite and > 0, got 0.0; the authors' is 0.5"),
        (lambda: HypergradientDescent(per="layer"), "per must be one of 'run', 'tensor', 'parameter', got 'layer'"),
        (lambda: HypergradientDescent(per="run", beta_of_sgd=-1.0), "beta_of_sgd must be a finite number >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_schedule_free_is_evaluated_at_the_average_of_its_iterates() -> None:
    import schedulefree

    workload = Bowl(1.0, 2.0, momentum=0.5)
    record = trainer_of("schedule_free", workload)(workload, [Schedule().resolve(20)], [0.3])
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = schedulefree.SGDScheduleFree([weight], lr=0.3, momentum=0.9, warmup_steps=1)
    optimizer.train()
    for _ in range(20):
        optimizer.zero_grad()
        (weight.square().sum() / 2).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    at_the_gradient = float(weight.detach().square().sum())
    optimizer.eval()
    assert record.reporting_loss.tolist() == pytest.approx([float(weight.detach().square().sum())], rel=1e-9)
    assert at_the_gradient != pytest.approx(float(weight.detach().square().sum()), rel=1e-3)


def test_prodigy_follows_its_envelope_with_factors_of_the_usual_rate() -> None:
    import prodigyopt

    workload = Bowl(1.0, 2.0, usual_learning_rate=0.1, weight_decay=0.01)
    schedule = Schedule(envelope=Envelope(shape="cosine"))
    record = trainer_of("prodigy", workload)(workload, [schedule.resolve(20)], [0.2])
    assert record.rates[[0, 10], 0].tolist() == pytest.approx([2.0, 1.0])
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = prodigyopt.Prodigy([weight], lr=2.0, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for _ in range(20):
        optimizer.zero_grad()
        (weight.square().sum() / 2).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
    assert record.reporting_loss.tolist() == pytest.approx([float(weight.detach().square().sum())], rel=1e-9)


@pytest.mark.parametrize(("method", "package"), [("schedule_free", "schedulefree"), ("prodigy", "prodigyopt")])
def test_baseline_that_is_not_installed_is_named_with_the_remedy(
    method: Method, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    workload = Bowl(1.0)
    with pytest.raises(ValueError, match=rf"'{package}', which is not installed; run pip install --no-deps {package} "):
        trainer_of(method, workload)(workload, [Schedule().resolve(5)], [0.1])


def test_job_that_lacks_a_package_is_refused_before_anything_is_trained(
    digits: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    configurations = tuple(CONTENDERS[name].configuration(name, 0.1) for name in ("cosine", "schedule_free"))
    job = Job(workload=WorkloadReference(reference="mnist-mlp"), configurations=configurations)
    told: list[int] = []
    with pytest.raises(ValueError, match="'schedule_free' needs the package 'schedulefree'"):
        run_job(job, digits, progress=lambda _, done, total: told.append(done))
    assert told == []
