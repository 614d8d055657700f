"""What a preset is called by people."""

from dataclasses import replace

from greedylr import Interval, Verdict, load_preset
from greedylr.preset_facts import facts


def test_what_a_preset_is_made_for_is_told_as_far_as_it_is_known() -> None:
    preset = load_preset("core")
    assert "made for" not in facts(preset)
    described = replace(
        preset.provenance, optimizer="adamw", task="language model", parameters=1_200_000, batch_size=64
    )
    told = facts(replace(preset, provenance=described))["made for"]
    assert told == "adamw, language model, 1,200,000 parameters, batches of 64"
    assert facts(replace(preset, provenance=replace(preset.provenance, optimizer="sgd")))["made for"] == "sgd"


def test_a_verdict_is_told_with_what_rates_were_chosen_by_where_that_flatters() -> None:
    apart = Verdict(
        verdict="better",
        difference=-0.05,
        interval=Interval(lower=-0.08, upper=-0.02, level=0.95),
        primary_control="cosine",
        workload="python train.py",
        own_workload=True,
        seeds=5,
        attempt=1,
    )
    preset = load_preset("core")
    assert "selection" not in facts(preset.with_verdict(apart))
    told = facts(preset.with_verdict(replace(apart, selection="report")))
    assert told["selection"] == "by the reported loss itself, which flatters"
