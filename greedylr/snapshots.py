"""A copy of a training's weights, buffers and optimizer state, to go back to: what probe and rollback restore.

One copy is kept, whatever the schedule asks for: parameters + buffers + optimizer state in bytes (for Adam three times
the parameters), on the device beside the model or on the host. It is allocated once and written in place. Taking it
costs one pass over these tensors, at most once a decision, and on a GPU one wait for the device, which a decision is
anyway; copies to the host go through pinned memory and are not waited for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from greedylr.rule import require_choice
from greedylr.strict_json import shorten

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

SnapshotPlace = Literal["device", "host"]
REMEDY = "resume with the model and optimizer that the run began with"


class TrainingSnapshot:
    """One copy of what a model and an optimizer have learned; it is taken when it is made.

    Not in it: the optimizer's groups and their settings, random number generators, the position in the data, a gradient
    scaler, averaged weights kept elsewhere. What joined model or optimizer after the copy is left as it is.

    Parameters
    ----------
    model
        A `torch.nn.Module` that holds every parameter of the optimizer.
    optimizer
        It has `param_groups` and, by parameter, `state`.
    place
        "device" keeps the copy beside each tensor, "host" in the memory of the machine, pinned where the tensor is on a
        CUDA device.

    Raises
    ------
    ValueError
        If model or optimizer are not that.
    """

    def __init__(self, model: Module, optimizer: Any, place: SnapshotPlace = "device") -> None:
        require_choice("snapshots", place, get_args(SnapshotPlace))
        _require_module(model)
        if not isinstance(getattr(optimizer, "state", None), MutableMapping):
            raise ValueError(
                "probe and rollback need an optimizer with a state by parameter, as torch's have, got "
                f"{type(optimizer).__name__}; pass the torch optimizer itself, or take a preset without the two"
            )
        self.model, self.optimizer, self.place = model, optimizer, place
        held = {id(parameter) for parameter in model.parameters()}
        if strangers := sum(id(parameter) not in held for parameter in self._trained()):
            raise ValueError(
                f"model must hold every parameter that the optimizer trains, got a {type(model).__name__} without "
                f"{strangers} of them; pass the whole model, of several models a ModuleList"
            )
        self._weights: dict[str, Tensor] = {}
        self._states: list[dict[str, Any]] = []
        self.take()

    @property
    def nbytes(self) -> int:
        """Bytes of the copy."""
        tensors = [*self._weights.values(), *(value for state in self._states for value in state.values())]
        return sum(tensor.nbytes for tensor in tensors if _is_tensor(tensor))

    def take(self) -> None:
        """Copy what there is now over what was kept."""
        self._weights = {name: self._kept(self._weights.get(name), tensor) for name, tensor in self._live_weights()}
        self.take_optimizer_state()

    def take_optimizer_state(self) -> None:
        """Copy the optimizer's state alone."""
        earlier = iter(self._states)
        self._states = [
            {name: self._kept(old.get(name), value) for name, value in self.optimizer.state.get(parameter, {}).items()}
            for parameter, old in ((parameter, next(earlier, {})) for parameter in self._trained())
        ]

    def restore(self) -> None:
        """Copy what was kept over what there is now.

        Raises
        ------
        ValueError
            If a tensor of the model has changed its shape since.
        """
        import torch

        live = dict(self._live_weights())
        for name, kept in self._weights.items():
            if name not in live or live[name].shape != kept.shape:
                raise ValueError(
                    f"{name} of the model must keep its shape {tuple(kept.shape)} where weights are restored, got "
                    f"{tuple(live[name].shape) if name in live else 'nothing'}; leave out probe and rollback"
                )
        with torch.no_grad():
            for name, kept in self._weights.items():
                if _overlaps_itself(live[name]):
                    continue  # nobody can have written into it
                live[name].copy_(kept, non_blocking=live[name].is_cuda)
            for parameter, kept_state in zip(self._trained(), self._states, strict=False):
                _restore_state(self.optimizer.state, parameter, kept_state)

    def is_finite(self) -> bool:
        """Return whether all there is now is finite, so worth keeping; on a GPU this waits for the device."""
        import torch

        states = (self.optimizer.state.get(parameter, {}).values() for parameter in self._trained())
        tensors = [tensor for _, tensor in self._live_weights()]
        tensors += [value for state in states for value in state if _is_tensor(value)]
        by_device: dict[Any, list[Tensor]] = {}
        for tensor in tensors:
            if tensor.is_floating_point() or tensor.is_complex():
                by_device.setdefault(tensor.device, []).append(torch.isfinite(_comparable(tensor)).all())
        return all(bool(torch.stack(flags).all()) for flags in by_device.values())

    def weights_differ(self) -> bool:
        """Return whether the model's weights are others than those kept."""
        import torch

        kept = self._weights
        return any(
            name not in kept
            or not torch.equal(_comparable(tensor), _comparable(kept[name].to(tensor.device, tensor.dtype)))
            for name, tensor in self.model.named_parameters()
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the copy as tensors of its own and plain builtins, as `torch.load(weights_only=True)` accepts them.

        What has joined since the copy stands in it as None.
        """
        import torch

        if self.place == "host" and torch.cuda.is_available():
            torch.cuda.synchronize()  # copies to the host may be under way
        joined = sum(1 for _ in self._trained()) - len(self._states)
        states = [{name: _copied(value) for name, value in state.items()} for state in self._states]
        return {
            "weights": dict.fromkeys((name for name, _ in self._live_weights()), None)
            | {name: tensor.clone() for name, tensor in self._weights.items()},
            "optimizer": [*states, *[None] * joined],
        }

    def load_state_dict(self, state: Any) -> None:
        """Take over a copy of `state_dict`.

        Raises
        ------
        ValueError
            If it is not one of this model and optimizer; nothing has changed then.
        """
        weights, states = _checked(state, dict(self._live_weights()), sum(1 for _ in self._trained()))
        live = dict(self._live_weights())
        # Onto the live tensor's device first: a checkpoint is mostly read onto the host.
        self._weights = {
            name: self._kept(self._weights.get(name), tensor.to(live[name].device)) for name, tensor in weights.items()
        }
        self._states = [
            {name: self._kept(None, _beside(value, parameter)) for name, value in held.items()}
            for parameter, held in zip(self._trained(), states, strict=False)
        ]

    def _trained(self) -> Iterator[Tensor]:
        return (parameter for group in self.optimizer.param_groups for parameter in group["params"])

    def _live_weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()
        yield from self.model.named_buffers()

    def _kept(self, old: Any, new: Any) -> Any:
        """Return a copy of a value, in the memory of the old copy where it fits."""
        import torch

        if not _is_tensor(new):
            return copy.deepcopy(new)
        device = torch.device("cpu") if self.place == "host" else new.device
        if not (_is_tensor(old) and (old.shape, old.dtype, old.device) == (new.shape, new.dtype, device)):
            pinned = self.place == "host" and new.is_cuda
            old = torch.empty_like(new, device=device, requires_grad=False, pin_memory=pinned)
        with torch.no_grad():
            return old.copy_(new, non_blocking=new.is_cuda)


def _restore_state(states: MutableMapping[Any, Any], parameter: Tensor, kept: Mapping[str, Any]) -> None:
    """Set an optimizer's state of a parameter; its tensors are changed in place, for who holds on to them."""
    if not kept:
        states.pop(parameter, None)
        return
    live = states.setdefault(parameter, {})
    for name in [name for name in live if name not in kept]:
        del live[name]
    for name, value in kept.items():
        present = live.get(name)
        if _is_tensor(value) and _is_tensor(present) and present.shape == value.shape:
            present.copy_(value, non_blocking=present.is_cuda)
        else:
            live[name] = _copied(_beside(value, parameter))


def _beside(value: Any, parameter: Tensor) -> Any:
    # A count of steps may stay on the host, where optimizers keep it.
    return value.to(parameter.device) if _is_tensor(value) and value.shape == parameter.shape else value


def _overlaps_itself(tensor: Tensor) -> bool:
    """Return whether elements of the tensor share their memory, as `expand` makes them; torch writes into no such."""
    strided = str(tensor.layout) == "torch.strided"
    return strided and any(size > 1 and not step for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def _comparable(tensor: Tensor) -> Tensor:
    """Return the tensor's numbers in a form that torch compares: it can do so neither in eight bits nor sparse."""
    tensor = tensor.detach()
    if str(tensor.layout) != "torch.strided":
        tensor = tensor.to_dense()
    return tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor


def _copied(value: Any) -> Any:
    return value.clone() if _is_tensor(value) else copy.deepcopy(value)


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _require_module(model: object) -> None:
    import torch

    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {shorten(model)}; pass the model that is trained")


def _checked(state: Any, live: Mapping[str, Tensor], parameters: int) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return weights and optimizer states of a saved copy, or refuse it."""
    if not isinstance(state, Mapping) or set(state) != {"weights", "optimizer"}:
        got = sorted(map(str, state)) if isinstance(state, Mapping) else shorten(state)
        raise ValueError(f"a snapshot has weights and optimizer, got {got}; load a state as it was saved")
    weights, states = state["weights"], state["optimizer"]
    if not isinstance(weights, Mapping) or set(weights) != set(live):
        odd = sorted(map(str, set(weights) ^ set(live))) if isinstance(weights, Mapping) else weights
        raise ValueError(f"a snapshot must have the model's weights and buffers, differs in {shorten(odd)}; {REMEDY}")
    for name, tensor in weights.items():
        if tensor is not None and (not _is_tensor(tensor) or tensor.shape != live[name].shape):
            shape = tuple(tensor.shape) if _is_tensor(tensor) else shorten(tensor)
            rule = f"{name} of a snapshot must have the shape {tuple(live[name].shape)}"
            raise ValueError(f"{rule}, got {shape}; {REMEDY}")
    # Groups join at the end, so what joined after the copy stands there.
    kept = [held for held in states if held is not None] if isinstance(states, list) else []
    fits = isinstance(states, list) and len(states) == parameters and all(isinstance(held, dict) for held in kept)
    if not fits or any(held is None for held in states[: len(kept)]):
        got = f"{len(states)} entries" if isinstance(states, list) else shorten(states)
        raise ValueError(f"a snapshot must have one state for each of the {parameters} parameters, got {got}; {REMEDY}")
    return {name: tensor for name, tensor in weights.items() if tensor is not None}, kept


class SnapshotKeeper:
    """Acts on a controller's events: keeps what there is at a new best, restores what was kept.

    The first copy is of the training before its first step. It is made with the scheduler, so that buffers are as they
    were before the first batch, and anew should weights or optimizer state be loaded between then and the first step.
    """

    def __init__(self, model: Module, optimizer: Any, place: SnapshotPlace) -> None:
        self.snapshot = TrainingSnapshot(model, optimizer, place)
        # Accelerate's wrapper has no hooks; the optimizer inside has.
        register = getattr(getattr(optimizer, "optimizer", optimizer), "register_step_pre_hook", None)
        self._hook = None if register is None else register(self._before_first_step)

    def _before_first_step(self, *_: object) -> None:
        if self.snapshot.weights_differ():
            self.snapshot.take()
        else:
            self.snapshot.take_optimizer_state()  # buffers stay as they were before the first batch
        self.forget_start()

    def forget_start(self) -> None:
        """Leave the first copy as it is: the training has begun."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def keep(self, average: Callable[[float], float] | None) -> None:
        """Keep what there is, unless a step has just ruined it; all ranks do, or none."""
        verdict = 0.0 if self.snapshot.is_finite() else float("nan")
        if average is not None:
            verdict = average(verdict)
        if verdict == 0.0:
            self.snapshot.take()
