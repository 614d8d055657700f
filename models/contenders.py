"""What a preset can be compared with, by name: schedules, and methods that set their rates themselves.

The frozen list of docs/method.md, section 6, is `CONTROL_CONTENDERS`; everything else is compared on request. Each has
its learning rate tuned on search seeds, over the same grid as all the others; what the rate is to it, it says itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from greedylr.schedules import CONTROLS, FURTHER_CONTROLS, Envelope, Schedule
from models.methods.installed_package import require_packages
from models.retraining.job import Configuration
from models.retraining.methods import Method

START = "the rate to start from"
CONSTANT = Schedule()


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A schedule or a method, as its authors use it.

    Parameters
    ----------
    schedule
        The constant one for methods that take none.
    method
        What sets the rate.
    source
        Where it comes from.
    settings
        What is set and not tuned.
    learning_rate
        What the learning rate of a configuration is to it.
    """

    schedule: Schedule = CONSTANT
    method: Method = "schedule"
    source: str
    settings: str
    learning_rate: str = START

    def configuration(self, name: str, learning_rate: float) -> Configuration:
        """Return it at a rate, under a name."""
        return Configuration(name=name, schedule=self.schedule, learning_rate=learning_rate, method=self.method)


def contenders(names: Iterable[str]) -> dict[str, Contender]:
    """Return contenders by their names, in that order.

    Raises
    ------
    ValueError
        For a name that is none, with those that are; or for one whose package is absent.
    """
    names = list(names)
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise ValueError(
            f"a preset can be compared with {', '.join(CONTENDERS)}, got {', '.join(map(repr, unknown))}; "
            "take one of these names"
        )
    found = {name: CONTENDERS[name] for name in names}
    require_packages(contender.method for contender in found.values())
    return found


_SOURCES = {
    "constant": ("none", "none"),
    "linear": ("Defazio et al. 2023, arXiv 2310.07831", "to zero, no ramp"),
    "cosine": ("Loshchilov & Hutter, ICLR 2017, without restarts", "ramp over 5 %, to zero"),
    "step": ("He et al., CVPR 2016", "a tenth at 1/2 and 3/4 of the run"),
    "wsd": ("Hu et al. 2024, arXiv 2404.06395", "ramp over 5 %, linear to zero over the last 20 %"),
    "one_cycle": ("Smith & Topin 2018, arXiv 1708.07120", "as torch's OneCycleLR, momentum left alone"),
    "inverse_sqrt": ("Vaswani et al., NeurIPS 2017, section 5.3", "ramp over 5 %"),
    "plateau": ("torch.optim.lr_scheduler.ReduceLROnPlateau", "a tenth after 10 % of the run without improvement"),
    "plateau_anneal": ("ReduceLROnPlateau, smoothed", "half after 5 % of the run, final anneal over 20 %"),
    "plateau_anneal_ramp": ("ReduceLROnPlateau, smoothed", "as plateau_anneal, ramp over 5 %"),
    "greedy_transformers": ("transformers.GreedyLR", "its defaults"),
    "greedy_smooth50_anneal": ("transformers.GreedyLR", "smoothed over 50 steps, final anneal over 20 %"),
    "greedy_smooth50_anneal_ramp": ("transformers.GreedyLR", "as greedy_smooth50_anneal, ramp over 5 %"),
    "greedy_smooth50_cosine": ("transformers.GreedyLR", "smoothed over 50 steps, times cosine"),
    "exponential": ("torch.optim.lr_scheduler.ExponentialLR", "ramp over 5 %, to a hundredth"),
    "polynomial": ("transformers' get_polynomial_decay_schedule_with_warmup", "ramp over 5 %, power 2, to zero"),
    "cosine_restarts": ("Loshchilov & Hutter, ICLR 2017", "ramp over 5 %, three cycles, each twice as long"),
}


def _of_schedules(schedules: dict[str, Schedule]) -> dict[str, Contender]:
    return {
        name: Contender(schedule=schedule, source=_SOURCES[name][0], settings=_SOURCES[name][1])
        for name, schedule in schedules.items()
    }


CONTROL_CONTENDERS = _of_schedules(CONTROLS)
FURTHER_CONTENDERS = _of_schedules(FURTHER_CONTROLS)
METHOD_CONTENDERS: dict[str, Contender] = {
    "hypergradient": Contender(
        method="hypergradient",
        source="Baydin et al., ICLR 2018",
        settings="one rate a run, on the workload's optimizer; beta 1 (SGD) or 1e-4 (Adam) starting rates, as theirs",
    ),
    "hypergradient_tensor": Contender(
        method="hypergradient_tensor",
        source="Baydin et al., ICLR 2018",
        settings="one rate a weight tensor, else as hypergradient",
    ),
    "hypergradient_parameter": Contender(
        method="hypergradient_parameter",
        source="Baydin et al., ICLR 2018",
        settings="one rate a parameter, else as hypergradient",
    ),
    "line_search": Contender(
        method="line_search",
        source="Vaswani et al., NeurIPS 2019",
        settings="plain SGD; Armijo with c 0.1, reduction 0.9, growth 2 in a tenth of the run, at most 10 x start",
        learning_rate="where the first search begins, and a tenth of the largest rate",
    ),
    "polyak": Contender(
        method="polyak",
        source="Loizou et al., AISTATS 2021",
        settings="plain SGD; c 0.5, least loss 0",
        learning_rate="the largest rate",
    ),
    "schedule_free": Contender(
        method="schedule_free",
        source="Defazio et al., NeurIPS 2024; package schedulefree",
        settings="beta 0.9, ramp over 5 %; SGD for workloads of SGD, else AdamW",
    ),
    "prodigy": Contender(
        schedule=Schedule(envelope=Envelope(shape="cosine")),
        method="prodigy",
        source="Mishchenko & Defazio, ICML 2024; package prodigyopt",
        settings="Adam at estimated rates, times cosine",
        learning_rate="in multiples of the workload's usual rate, the factor of the estimated rate",
    ),
}
CONTENDERS: dict[str, Contender] = {**CONTROL_CONTENDERS, **FURTHER_CONTENDERS, **METHOD_CONTENDERS}
