"""What is kept of a training and comes back: weights, buffers, optimizer state."""

import copy
from typing import Any

import pytest
import torch

from greedylr.snapshots import TrainingSnapshot


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 1))


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        inputs = torch.randn(16, 4, generator=generator)
        loss = ((model(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def contents(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict()["state"]})


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.05),
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.05, momentum=0.9),
    "adam": lambda weights: torch.optim.AdamW(weights, lr=0.01, amsgrad=True),
    "lbfgs": lambda weights: torch.optim.LBFGS(weights, lr=0.1),
}


def step(name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> None:
    if name != "lbfgs":
        train(model, optimizer, steps, seed)
        return
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = ((model(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)


@pytest.mark.parametrize("place", ["device", "host"])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_weights_running_statistics_and_optimizer_state_come_back(name: str, place: Any) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](model.parameters())
    step(name, model, optimizer, 5, seed=1)
    snapshot, before = TrainingSnapshot(model, optimizer, place), contents(model, optimizer)
    step(name, model, optimizer, 5, seed=2)
    after = contents(model, optimizer)
    assert not equal(after["model"], before["model"])
    assert not torch.equal(after["model"]["1.running_mean"], before["model"]["1.running_mean"])
    snapshot.restore()
    assert equal(contents(model, optimizer), before)
    # And again, from the same copy: what is restored is not the copy itself.
    step(name, model, optimizer, 5, seed=2)
    assert equal(contents(model, optimizer), after)
    snapshot.restore()
    assert equal(contents(model, optimizer), before)


def test_optimizer_that_had_not_begun_is_as_new_again() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    snapshot, before = TrainingSnapshot(model, optimizer), contents(model, optimizer)
    train(model, optimizer, 3)
    snapshot.restore()
    assert not optimizer.state
    assert equal(contents(model, optimizer), before)


def test_copy_is_written_in_place_after_the_first_time() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 1)
    snapshot = TrainingSnapshot(model, optimizer)

    def addresses() -> list[int]:
        held = [*snapshot._weights.values(), *(value for state in snapshot._states for value in state.values())]
        return [tensor.data_ptr() for tensor in held]

    first = addresses()
    for _ in range(3):
        train(model, optimizer, 1)
        snapshot.take()
    assert addresses() == first


def test_restored_tensors_stay_the_same_objects() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 1)
    snapshot = TrainingSnapshot(model, optimizer)
    weights, moments = list(model.parameters()), [state["exp_avg"] for state in optimizer.state.values()]
    train(model, optimizer, 1)
    snapshot.restore()
    assert all(one is other for one, other in zip(weights, model.parameters(), strict=True))
    assert all(one is state["exp_avg"] for one, state in zip(moments, optimizer.state.values(), strict=True))


def test_bytes_are_those_of_parameters_buffers_and_optimizer_state() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 1)
    parameters, moments = 4 * (4 * 8 + 8 + 8 + 8 + 8 + 1), 3
    statistics, steps = 4 * (8 + 8) + 8, 4 * 6
    assert TrainingSnapshot(model, optimizer).nbytes == (1 + moments) * parameters + statistics + steps


def test_state_that_is_not_finite_is_noticed() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 1)
    snapshot = TrainingSnapshot(model, optimizer)
    assert snapshot.is_finite()
    next(iter(optimizer.state.values()))["exp_avg_sq"][0, 0] = torch.inf
    assert not snapshot.is_finite()
    snapshot.restore()
    model[1].running_var[0] = torch.nan  # type: ignore[index, operator]
    assert not snapshot.is_finite()


def test_copy_travels_as_a_state() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 2)
    snapshot, before = TrainingSnapshot(model, optimizer), contents(model, optimizer)
    state = snapshot.state_dict()
    train(model, optimizer, 2)
    snapshot.take()
    other = network()
    fresh = OPTIMIZERS["adam"](other.parameters())
    again = TrainingSnapshot(other, fresh, "host")
    again.load_state_dict(state)
    again.restore()
    assert equal(contents(other, fresh), before)


def test_what_is_no_copy_of_this_training_is_refused_and_changes_nothing() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 1)
    snapshot = TrainingSnapshot(model, optimizer)
    good = snapshot.state_dict()
    weights = good["weights"]
    for state, message in (
        (3, "a snapshot has weights and optimizer, got 3"),
        ({"weights": weights}, r"a snapshot has weights and optimizer, got \['weights'\]"),
        (good | {"weights": {"typo": torch.zeros(1)}}, "must have the model's weights and buffers, differs in"),
        (good | {"weights": weights | {"0.bias": torch.zeros(1)}}, r"0.bias of a snapshot must have the shape \(8,\)"),
        (good | {"weights": weights | {"0.bias": 3.0}}, r"0.bias of a snapshot must have the shape \(8,\), got 3.0"),
        (good | {"optimizer": []}, "one state for each of the 6 parameters, got 0 entries"),
    ):
        with pytest.raises(ValueError, match=message):
            snapshot.load_state_dict(state)
        assert equal(snapshot.state_dict()["weights"], weights)


def test_model_and_optimizer_that_cannot_be_kept_are_refused() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    with pytest.raises(ValueError, match=r"model must be a torch.nn.Module, got \{\}; pass the model that is trained"):
        TrainingSnapshot({}, optimizer)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a Linear without 6 of them; pass the whole model, of several models a Modul"):
        TrainingSnapshot(torch.nn.Linear(1, 1), optimizer)
    with pytest.raises(ValueError, match="snapshots must be one of 'device', 'host', got 'disk'"):
        TrainingSnapshot(model, optimizer, "disk")  # type: ignore[arg-type]

    class LooksLikeOne:
        param_groups = optimizer.param_groups

    with pytest.raises(ValueError, match=r"need an optimizer with a state by parameter, .*, got LooksLikeOne; pass"):
        TrainingSnapshot(model, LooksLikeOne())
    snapshot = TrainingSnapshot(model, optimizer)
    model[0] = torch.nn.Linear(4, 9)  # type: ignore[index, operator]
    with pytest.raises(ValueError, match=r"0.weight of the model must keep its shape \(8, 4\) .*, got \(9, 4\)"):
        snapshot.restore()


def test_group_that_joined_after_the_copy_is_left_as_it_is_in_a_state_too() -> None:
    model = network()
    optimizer = OPTIMIZERS["adam"](model[0].parameters())  # type: ignore[index]
    train(model, optimizer, 1)
    snapshot = TrainingSnapshot(model, optimizer)
    before = contents(model, optimizer)
    optimizer.add_param_group({"params": list(model[3].parameters())})  # type: ignore[index, union-attr]
    model.register_buffer("joined", torch.zeros(2))
    train(model, optimizer, 2)
    state = snapshot.state_dict()
    again = TrainingSnapshot(model, optimizer)
    again.load_state_dict(state)
    moments = copy.deepcopy(optimizer.state_dict()["state"])
    model.get_buffer("joined").fill_(3.0)
    again.restore()
    assert torch.equal(model.get_parameter("0.weight"), before["model"]["0.weight"])
    after = optimizer.state_dict()["state"]
    assert all(equal(after[index], before["optimizer"][index]) for index in (0, 1))
    assert all(equal(after[index], moments[index]) for index in (2, 3))
    assert model.get_buffer("joined").tolist() == [3.0, 3.0]
    with pytest.raises(ValueError, match="one state for each of the 4 parameters, got 4 entries"):
        again.load_state_dict(state | {"optimizer": state["optimizer"][::-1]})


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(1, 4).expand(3, 4),
        torch.ones(4).to(torch.float8_e4m3fn),
        torch.eye(4).to_sparse(),
        torch.ones(4, dtype=torch.complex64),
    ],
    ids=["expanded", "float8", "sparse", "complex"],
)
def test_buffers_that_torch_cannot_compare_or_write_into_stop_no_training(tensor: torch.Tensor) -> None:
    model = network()
    model.register_buffer("odd", tensor)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 1)
    snapshot, before = TrainingSnapshot(model, optimizer), copy.deepcopy(model[0].weight)  # type: ignore[index, union-attr]
    assert snapshot.is_finite()
    assert not snapshot.weights_differ()
    train(model, optimizer, 1)
    snapshot.restore()
    assert torch.equal(model.get_parameter("0.weight"), before)
    here, there = (each.to_dense().to(torch.complex64) for each in (model.get_buffer("odd"), tensor))
    assert torch.equal(here, there)


def test_complex_weights_that_are_not_finite_are_noticed() -> None:
    model = torch.nn.ParameterList([torch.full((2,), complex(1, float("nan")), dtype=torch.complex64)])
    assert not TrainingSnapshot(model, torch.optim.SGD(model.parameters(), lr=0.1)).is_finite()
