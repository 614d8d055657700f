"""Schedulers of torch (and the plateau of Keras) by the name and the numbers that people log.

Nothing but a person's own params says how they were used, so a number that matters must be declared (or be the default
of a class that is named), and the unit in which the scheduler counts must be sure.
"""

from features.rate_rules import Declared, Length, RateRule, UntoldError

# A decay by epoch lowers the rate at least this far over the declared epochs; one by batch would not.
_DECAYS = 0.9
_PLATEAU_OWNERS = ("scheduler", "sched", "plateau", "lr")


def torch_rule(declared: Declared, name: str, rate: float, length: Length, *, keras: bool) -> RateRule:
    """Return the schedule of a scheduler's name, in lower-case letters.

    Raises
    ------
    UntoldError
        With the reason.
    """
    if "plateau" in name:
        return _plateau(declared, rate, length, keras=keras)
    if keras:
        raise UntoldError(f"the Keras schedule {name} is none that can be rebuilt")
    match name:
        case "steplr" | "step":
            return _step(declared, name, rate, length)
        case "multisteplr" | "multistep":
            return _multi_step(declared, name, rate, length)
        case "exponentiallr" | "exponential":
            return _exponential(declared, rate, length)
        case "cosineannealinglr" | "cosineannealing" | "cosine":
            return _cosine(declared, rate, length)
        case "cosineannealingwarmrestarts":
            return _warm_restarts(declared, rate, length)
        case "onecyclelr":
            return _one_cycle(declared, length)
        case "linearlr":
            return _linear(declared, rate, length)
        case "polynomiallr":
            return _polynomial(declared, rate, length)
    raise UntoldError(f"the schedule {name} is none that can be rebuilt from params")


def _gamma(declared: Declared, name: str) -> float:
    """Return the declared factor, or torch's default where torch's class is named."""
    return declared.needed("gamma") if not name.endswith("lr") else (declared.number("gamma") or 0.1)


def _step(declared: Declared, name: str, rate: float, length: Length) -> RateRule:
    gamma, size = _gamma(declared, name), declared.needed("step_size")
    offset = length.epochs_from(name)
    if size > (length.planned or 0):
        raise UntoldError(f"step_size={size:g} is longer than the run: it may count batches")
    reason = f"StepLR with step_size={size:g} and gamma={gamma:g}, by epoch"
    return RateRule(kind="torch_step", rate=rate, reason=reason, offset=offset, gamma=gamma, step_size=size)


def _multi_step(declared: Declared, name: str, rate: float, length: Length) -> RateRule:
    gamma, milestones = _gamma(declared, name), declared.numbers("milestones")
    at = length.epochs_from(name)
    if milestones[-1] > (length.planned or 0):
        raise UntoldError(f"the milestone {milestones[-1]:g} lies beyond the run: it may count batches")
    reason = f"MultiStepLR with gamma={gamma:g} and {len(milestones)} milestones, by epoch"
    return RateRule(kind="torch_multi_step", rate=rate, reason=reason, offset=at, gamma=gamma, milestones=milestones)


def _exponential(declared: Declared, rate: float, length: Length) -> RateRule:
    gamma = declared.needed("gamma")
    offset = length.epochs_from("ExponentialLR")
    if gamma ** (length.planned or 0) > _DECAYS:
        raise UntoldError(f"gamma={gamma:g} changes little in {length.planned} epochs: it may count batches")
    reason = f"ExponentialLR with gamma={gamma:g}, by epoch"
    return RateRule(kind="torch_exponential", rate=rate, reason=reason, offset=offset, gamma=gamma)


def _lowest(declared: Declared) -> float:
    return declared.number("eta_min", "min_lr", "lr_min") or 0.0


def _cosine(declared: Declared, rate: float, length: Length) -> RateRule:
    total, low = declared.needed("t_max", "tmax"), _lowest(declared)
    offset = length.own_unit("CosineAnnealingLR", total)
    reason = f"CosineAnnealingLR with T_max={total:g} and eta_min={low:g}, by {length.unit}"
    return RateRule(kind="torch_cosine", rate=rate, reason=reason, offset=offset, total=total, low=low)


def _warm_restarts(declared: Declared, rate: float, length: Length) -> RateRule:
    first, multiple = declared.needed("t_0", "t0"), declared.number("t_mult") or 1.0
    offset = length.epochs_from("CosineAnnealingWarmRestarts")
    if first > (length.planned or 0):
        raise UntoldError(f"T_0={first:g} is longer than the run: it may count batches")
    return RateRule(
        kind="torch_warm_restarts",
        rate=rate,
        reason=f"CosineAnnealingWarmRestarts with T_0={first:g} and T_mult={multiple:g}, by epoch",
        offset=offset,
        total=first,
        multiple=multiple,
        low=_lowest(declared),
    )


def _one_cycle(declared: Declared, length: Length) -> RateRule:
    peak = declared.needed("max_lr")
    if declared.is_true("three_phase"):
        raise UntoldError("a one-cycle of three phases is none that can be rebuilt")
    epochs, batches = declared.number("epochs"), declared.number("steps_per_epoch")
    total = declared.number("total_steps")
    if total is None and epochs is not None and batches is not None:
        total = epochs * batches
    if total is None:
        raise UntoldError("total_steps is not declared")
    share, div, final = (declared.number(name) for name in ("pct_start", "div_factor", "final_div_factor"))
    return RateRule(
        kind="torch_one_cycle",
        rate=peak,
        reason=f"OneCycleLR with max_lr={peak:g} and total_steps={total:g}, by {length.unit}",
        offset=length.own_unit("OneCycleLR", total),
        total=total,
        pct_start=0.3 if share is None else share,
        div=25.0 if div is None else div,
        final_div=10_000.0 if final is None else final,
        linear_anneal=(declared.text("anneal_strategy") or "cos").lower() == "linear",
    )


def _linear(declared: Declared, rate: float, length: Length) -> RateRule:
    total, start, end = declared.needed("total_iters"), declared.needed("start_factor"), declared.needed("end_factor")
    return RateRule(
        kind="torch_linear",
        rate=rate,
        reason=f"LinearLR from {start:g} to {end:g} in total_iters={total:g}, by {length.unit}",
        offset=length.own_unit("LinearLR", total),
        total=total,
        start_factor=start,
        end_factor=end,
    )


def _polynomial(declared: Declared, rate: float, length: Length) -> RateRule:
    total, power = declared.needed("total_iters"), declared.needed("power")
    return RateRule(
        kind="torch_polynomial",
        rate=rate,
        reason=f"PolynomialLR with power={power:g} and total_iters={total:g}, by {length.unit}",
        offset=length.own_unit("PolynomialLR", total),
        total=total,
        power=power,
    )


def _plateau(declared: Declared, rate: float, length: Length, *, keras: bool) -> RateRule:
    """ReduceLROnPlateau. A bare `patience` may be that of early stopping, a bare `factor` anything."""
    watched = declared.text(*_owned("monitor"), "monitor") or "val_loss"
    if "loss" not in watched.lower() or "train" in watched.lower():
        raise UntoldError(f"the plateau watches {watched}")
    factor, patience = declared.needed(*_owned("factor")), declared.needed(*_owned("patience"))
    if not 0 < factor < 1:
        raise UntoldError(f"factor={factor:g} lowers nothing")
    threshold = declared.number(*_owned("min_delta" if keras else "threshold"))
    mode = (declared.text(*_owned("threshold_mode"), "threshold_mode") or "rel").lower()
    return RateRule(
        kind="keras_plateau" if keras else "torch_plateau",
        rate=rate,
        reason=f"ReduceLROnPlateau of {'Keras' if keras else 'torch'} with factor={factor:g} and "
        f"patience={patience:g}, replayed on the validation loss",
        offset=length.epochs_from("ReduceLROnPlateau"),
        gamma=factor,
        patience=patience,
        threshold=1e-4 if threshold is None else threshold,
        cooldown=declared.number(*_owned("cooldown")) or 0.0,
        low=declared.number(*_owned("min_lr"), "min_lr", "lr_min") or 0.0,
        absolute=keras or mode == "abs",
    )


def _owned(name: str) -> list[str]:
    return [f"{owner}_{name}" for owner in _PLATEAU_OWNERS]
