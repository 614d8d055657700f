"""GreedyLR and its presets: learning-rate schedules learned from past training runs.

Importing this imports nothing outside the standard library; torch and MLflow are imported by what needs them.
"""

from greedylr.decisions import Decision
from greedylr.lookup import LocatedPreset, load_preset, locate_preset
from greedylr.preset import Candidate, Preset, Provenance
from greedylr.probe import Probe
from greedylr.rate_controller import RateController
from greedylr.rollback import Rollback
from greedylr.rule import GreedyLRParameters, GreedyLRState, initial_state, next_state
from greedylr.schedule_files import NamedControl, load_schedule, write_schedule
from greedylr.scheduler import GreedyLR
from greedylr.schedules import CONTROLS, Envelope, RelativeRule, ResolvedSchedule, Schedule
from greedylr.suggestion import Suggestion, suggest_preset
from greedylr.verdict import Interval, Verdict
from greedylr.workload import Workload, WorkloadDescriptors

__all__ = [
    "CONTROLS",
    "Candidate",
    "Decision",
    "Envelope",
    "GreedyLR",
    "GreedyLRParameters",
    "GreedyLRState",
    "Interval",
    "LocatedPreset",
    "NamedControl",
    "Preset",
    "Probe",
    "Provenance",
    "RateController",
    "RelativeRule",
    "ResolvedSchedule",
    "Rollback",
    "Schedule",
    "Suggestion",
    "Verdict",
    "Workload",
    "WorkloadDescriptors",
    "initial_state",
    "load_preset",
    "load_schedule",
    "locate_preset",
    "next_state",
    "suggest_preset",
    "write_schedule",
]
__version__ = "0.1.0"
