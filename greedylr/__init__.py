"""GreedyLR and its presets: learning-rate schedules learned from past training runs.

Importing this imports nothing outside the standard library; torch and MLflow are imported by what needs them.
"""

from greedylr.lookup import load_preset
from greedylr.preset import Candidate, Preset, Provenance
from greedylr.rule import GreedyLRParameters, GreedyLRState, initial_state, next_state
from greedylr.scheduler import GreedyLR, RateController
from greedylr.schedules import CONTROLS, Envelope, RelativeRule, ResolvedSchedule, Schedule
from greedylr.verdict import Interval, Verdict
from greedylr.workload import Workload, WorkloadDescriptors

__all__ = [
    "CONTROLS",
    "Candidate",
    "Envelope",
    "GreedyLR",
    "GreedyLRParameters",
    "GreedyLRState",
    "Interval",
    "Preset",
    "Provenance",
    "RateController",
    "RelativeRule",
    "ResolvedSchedule",
    "Schedule",
    "Verdict",
    "Workload",
    "WorkloadDescriptors",
    "initial_state",
    "load_preset",
    "next_state",
]
__version__ = "0.1.0"
