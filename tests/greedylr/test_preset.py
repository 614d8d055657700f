import copy
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr import (
    CONTROLS,
    Candidate,
    Envelope,
    GreedyLRParameters,
    Interval,
    Preset,
    Provenance,
    RelativeRule,
    Schedule,
    Verdict,
    load_preset,
    load_schedule,
)
from greedylr.strict_json import encode

VERDICT = Verdict(
    verdict="better",
    difference=-0.05,
    interval=Interval(lower=-0.08, upper=-0.02, level=0.95),
    primary_control="cosine",
    workload="mnist-mlp",
    own_workload=True,
    seeds=10,
    attempt=2,
    cells={"better": 30, "worse": 1},
    device_seconds=12.5,
)
PRESET = Preset(
    name="steady",
    schedule=Schedule(
        envelope=Envelope(shape="wsd", ramp=0.05),
        rule=RelativeRule(factor=0.7, increase_factor=0.85, patience=0.025, max_lr=30.0, increase_until=0.4),
    ),
    learning_rate=0.1,
    provenance=Provenance(
        group="mnist-mlp-sgd",
        origin="statistics of the logs",
        history_fingerprint="0f3a",
        runs=60,
        created_at="2026-11-23T12:00:00+00:00",
        greedylr_version="0.1.0",
    ),
    verdict=VERDICT,
)
PLAIN = Preset(
    name="transformers",
    schedule=CONTROLS["greedy_transformers"],
    signal="validation_loss",
    provenance=Provenance(origin="portfolio", greedylr_version="0.1.0"),
)
RULE: dict[str, Any] = encode(PRESET)["schedule"]["rule"]


def changed(path: str, value: object) -> str:
    """The JSON of PRESET with the field at the dotted path set to a value."""
    document = encode(PRESET)
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[name]
    place[last] = value
    return json.dumps(document)


@pytest.mark.parametrize("preset", [PRESET, PLAIN], ids=lambda preset: preset.name)
def test_preset_comes_back_from_its_json_equal_in_value_text_and_hash(preset: Preset) -> None:
    again = Preset.from_json(preset.to_json())
    assert again == preset
    assert again.to_json() == preset.to_json()
    assert again.content_hash == preset.content_hash


@settings(deadline=None)
@given(
    st.builds(
        Schedule,
        envelope=st.builds(Envelope, shape=st.sampled_from(["constant", "wsd", "cosine"]), ramp=st.floats(0, 0.99)),
        rule=st.builds(
            RelativeRule,
            factor=st.floats(0.01, 1),
            increase_factor=st.none() | st.floats(0.01, 1),
            patience=st.floats(0, 1),
            max_lr=st.integers(1, 100) | st.floats(1, 100),
            min_lr=st.sampled_from([0, 0.0, 1e-3, 1]),
            guard=st.none() | st.floats(0, 10),
            stages=st.sampled_from(["hold", "continue", "silence"]),
        )
        | st.builds(
            GreedyLRParameters,
            factor=st.sampled_from([1, 0.5]),
            patience=st.integers(0, 100),
            reset_start=st.none() | st.integers(0, 9),
            non_finite=st.sampled_from(["bad", "cut", "ignore", "compare"]),
        ),
    ),
    st.none() | st.integers(1, 10) | st.floats(1e-9, 1e3),
)
def test_any_preset_comes_back_from_its_json(schedule: Schedule, learning_rate: float | None) -> None:
    preset = replace(PRESET, schedule=schedule, learning_rate=learning_rate)
    again = Preset.from_json(preset.to_json())
    assert again == preset
    assert again.content_hash == preset.content_hash


def test_content_hash_is_stable_between_versions() -> None:
    # Registered presets are known by it: a change of this literal breaks them.
    assert PRESET.content_hash == "675634d09c730ecc"
    assert PLAIN.content_hash == "a6c84297a789d18c"


def test_content_hash_is_of_what_the_preset_does_alone() -> None:
    for same in (
        replace(PRESET, name="other"),
        replace(PRESET, verdict=None),
        replace(PRESET, provenance=PLAIN.provenance),
    ):
        assert same.content_hash == PRESET.content_hash
    for other in (
        replace(PRESET, learning_rate=0.2),
        replace(PRESET, learning_rate=None),
        replace(PRESET, signal="validation_loss"),
        replace(PRESET, schedule=replace(PRESET.schedule, envelope=Envelope())),
    ):
        assert other.content_hash != PRESET.content_hash


def test_content_hash_does_not_tell_one_from_one_point_zero() -> None:
    one, one_point_zero = replace(PRESET, learning_rate=1), replace(PRESET, learning_rate=1.0)
    assert one == one_point_zero
    assert one.content_hash == one_point_zero.content_hash


def test_json_names_every_field() -> None:
    document = json.loads(PRESET.to_json())
    assert list(document) == [
        "name",
        "schedule",
        "learning_rate",
        "signal",
        "provenance",
        "verdict",
        "schema_version",
    ]
    assert list(document["schedule"]["rule"]) == [
        "factor",
        "increase_factor",
        "patience",
        "cooldown",
        "warmup",
        "threshold",
        "threshold_mode",
        "min_lr",
        "max_lr",
        "stages",
        "interval",
        "window",
        "increase_until",
        "guard",
        "non_finite",
    ]
    assert document["schema_version"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("typo", 1), r"\$.typo is no known field; fields here are name, schedule"),
        (changed("schedule.rule.fator", 0.5), r"\$.schedule.rule.fator is no known field; fields here are factor,"),
        (changed("schedule.rule.factor", "0.7"), r"\$.schedule.rule.factor must be a finite number, got '0.7'"),
        (changed("schedule.rule.factor", 1.5), r"\$.schedule.rule: rule.factor must lie in \(0, 1\], got 1.5"),
        (changed("schedule.rule.factor", None), r"\$.schedule.rule.factor must be a finite number, got None"),
        (
            changed("schedule.rule.patience", 10),
            r"rule.patience is a share of the run and must lie in \[0, 1\], got 10.0",
        ),
        (changed("schedule.rule.min_lr", 40.0), "max_lr must be a finite number >= 40, got 30.0"),
        (changed("schedule.rule.max_lr", 0.5), "must have 1 between them, got 0.01 and 0.5"),
        (changed("schedule.rule.max_lr", 10**400), r"\$.schedule.rule.max_lr must be a finite number, got inf"),
        (changed("schedule.rule.max_lr", math.inf), "numbers must be finite, got Infinity"),
        (changed("schedule.rule.guard", math.nan), "numbers must be finite, got NaN"),
        (
            changed("schedule.rule.stages", "stop"),
            r"\$.schedule.rule.stages must be one of 'hold', 'continue', 'silence'",
        ),
        (changed("schedule.rule", {"factor": 0.5, "patience": 1}), r"fits RelativeRule or GreedyLRParameters alike"),
        (changed("schedule.rule", RULE | {"mode": "min"}), r"\$.schedule.rule.mode is no known field"),
        (changed("schedule.rule", None), r"\$: a preset needs a rule, got none; a schedule without one is a control"),
        (changed("schedule.rule", [RULE]), "must hold the fields of RelativeRule or GreedyLRParameters"),
        (changed("schedule.envelope.shape", "sine"), r"\$.schedule.envelope.shape must be one of 'constant', "),
        (changed("schedule.envelope.ramp", True), r"\$.schedule.envelope.ramp must be a finite number, got True"),
        (changed("learning_rate", 0), r"\$: learning_rate must be > 0, got 0"),
        (changed("learning_rate", -0.1), r"\$: learning_rate must be a finite number >= 0, got -0.1"),
        (changed("signal", "accuracy"), r"\$.signal must be one of 'training_loss', 'validation_loss', got 'accuracy'"),
        (changed("name", ""), r"\$: name must not be empty"),
        (changed("name", 7), r"\$.name must be a string, got 7"),
        (changed("provenance", {}), r"\$.provenance.origin is missing"),
        (changed("provenance.runs", -1), r"\$.provenance: runs must be an integer >= 0, got -1"),
        (changed("provenance.runs", 10**400), r"\$.provenance.runs must be an integer of at most"),
        (changed("verdict.interval.lower", 0.5), r"\$.verdict.interval: an interval must have lower <= upper"),
        (changed("verdict.verdict", "non-inferior"), r"\$.verdict: the verdict of \[-0.08, -0.02\] .* is 'better'"),
        (changed("verdict.cells.better", 0.5), r"\$.verdict.cells.better must be an integer"),
        (changed("verdict.own_workload", 1), r"\$.verdict.own_workload must be true or false, got 1"),
        (
            changed("schema_version", 4),
            r"schema_version must be between 1 and 3, got 4; a preset of a newer schema needs",
        ),
        (changed("schema_version", True), r"\$.schema_version must be between 1 and 3, got True"),
        (changed("schema_version", "1"), "schema_version must be between 1 and 3, got '1'"),
        (changed("schedule", []), r"\$.schedule must be an object, got \[\]"),
        ("[]", r"\$ must be an object, got \[\]"),
        ("null", r"\$ must be an object, got None"),
        ("{}", r"\$.schema_version is missing; this is no GreedyLR preset"),
        ('{"name": "a", "name": "b"}', "a field must stand once in its object, got 'name' twice"),
        (
            changed("learning_rate", 0.125).replace("0.125", "1e999"),
            r"\$.learning_rate must be a finite number, got inf",
        ),
        (changed("learning_rate", 0.125).replace("0.125", "9" * 5000), "digits"),
        (changed("name", 0.125).replace("0.125", "[" * 100_000 + "]" * 100_000), "not valid JSON"),
    ],
)
def test_json_that_is_no_preset_is_refused_with_the_field_at_fault(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preset.from_json(text)


def test_newer_schema_is_named_before_the_fields_it_added() -> None:
    document = encode(PRESET) | {"schema_version": 4, "swarm": {"share": 0.05}}
    with pytest.raises(ValueError, match=r"newer greedylr: pip install --upgrade greedylr"):
        Preset.from_json(json.dumps(document))


def test_text_cut_off_anywhere_is_refused() -> None:
    text = PRESET.to_json().rstrip()
    for end in range(len(text)):
        with pytest.raises(ValueError, match=r"not valid JSON|\$"):
            Preset.from_json(text[:end])


def places(document: Any) -> Iterator[tuple[Any, str]]:
    """Every (object, key) of a document."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield document, key
            yield from places(value)


def holds(result: Any, document: Any) -> bool:
    """Whether a result has all that a document says, with the types it says it in."""
    if isinstance(document, dict):
        return isinstance(result, dict) and all(key in result and holds(result[key], document[key]) for key in document)
    if isinstance(document, bool) or not isinstance(document, int | float):
        return type(result) is type(document) and bool(result == document)
    return not isinstance(result, bool) and bool(result == document)


JUNK = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([2**53, 2**63, 10**400, [], {}, [[]], "better", "hold", "cosine"])
    | st.dictionaries(st.sampled_from(["factor", "shape", "lower", "x"]), st.floats(), max_size=2)
)


@settings(deadline=None, max_examples=1000)
@given(st.sampled_from([PRESET, PLAIN]), st.data())
def test_mutated_json_is_refused_or_taken_at_its_word(preset: Preset, data: st.DataObject) -> None:
    document = copy.deepcopy(encode(preset))
    for _ in range(data.draw(st.integers(1, 3))):
        place, key = data.draw(st.sampled_from(list(places(document))))
        match data.draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                place[key] = data.draw(JUNK)
            case "remove":
                del place[key]
            case "add":
                place[data.draw(st.text(max_size=3))] = data.draw(JUNK)
        if not document:
            break
    try:
        accepted = Preset.from_json(json.dumps(document))
    except ValueError:
        return
    assert holds(encode(accepted), document)
    assert Preset.from_json(accepted.to_json()) == accepted


@settings(deadline=None)
@given(st.integers(0, 10**6), st.characters())
def test_one_wrong_character_is_refused_or_taken_at_its_word(position: int, character: str) -> None:
    text = PRESET.to_json()
    position %= len(text)
    text = text[:position] + character + text[position + 1 :]
    try:
        accepted = Preset.from_json(text)
    except ValueError:
        return
    assert holds(encode(accepted), json.loads(text))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_file_of_any_bytes_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"any.json cannot be read as a preset: "):
        Preset.from_file(path)


def test_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    latin = tmp_path / "latin.json"
    latin.write_bytes(changed("name", "Übung").replace("\\u00dc", "Ü").encode("latin-1"))
    for path, message in (
        (latin, "latin.json cannot be read as a preset: 'utf-8' codec can't decode"),
        (tmp_path / "missing.json", "missing.json cannot be read as a preset: .*No such file"),
        (tmp_path, "cannot be read as a preset: .*Is a directory"),
    ):
        with pytest.raises(ValueError, match=message):
            Preset.from_file(path)


def test_preset_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "preset.json"
    path.write_text(PRESET.to_json(), encoding="utf-8")
    assert Preset.from_file(path) == PRESET


def test_verdict_is_added_to_a_copy() -> None:
    proved = PLAIN.with_verdict(VERDICT)
    assert (proved.verdict, PLAIN.verdict) == (VERDICT, None)
    assert proved.content_hash == PLAIN.content_hash


def test_schedule_without_a_rule_is_no_preset() -> None:
    with pytest.raises(ValueError, match="a preset needs a rule, got none"):
        replace(PRESET, schedule=CONTROLS["cosine"])


def test_candidate_needs_a_rate_above_zero() -> None:
    with pytest.raises(ValueError, match="learning_rate must be > 0, got 0"):
        Candidate(name="a", schedule=CONTROLS["cosine"], learning_rate=0, origin="test")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule(envelope="cosine"), "envelope must be of type Envelope, got 'cosine'; build one"),
        (
            lambda: Schedule(rule={"factor": 0.7}),
            "rule must be of type RelativeRule or GreedyLRParameters or None, got {'fac",
        ),
        (lambda: Schedule(probe=True), "probe must be of type Probe or None, got True; build one"),
        (
            lambda: Schedule(rule=RelativeRule(factor=0.7), rollback=0.3),
            "rollback must be of type Rollback or None, got 0.3",
        ),
        (lambda: Provenance(origin=None, greedylr_version="0"), "origin must be of type str, got None; leave it empty"),
        (
            lambda: Provenance(origin="", greedylr_version="0", task=3),
            "task must be of type str, got 3; leave it empty",
        ),
        (
            lambda: replace(load_preset("core"), schedule="cosine"),
            "schedule must be of type Schedule, got 'cosine'; read",
        ),
        (
            lambda: replace(load_preset("core"), verdict="better"),
            "verdict must be of type Verdict or None, got 'better'",
        ),
        (lambda: replace(load_preset("core"), name=3), "name must be of type str, got 3; name it in words"),
        (
            lambda: Preset.from_json({}),
            "a preset's JSON must be of type str, got {}; of plain builtins take Preset.from_dict",
        ),
        (
            lambda: load_preset(3),
            "address must be of type str or PathLike, got 3; name a bundled preset, a file or models:",
        ),
        (
            lambda: load_preset("models:/x/1", registry_uri=3),
            "registry_uri must be of type str or None, got 3; leave it out",
        ),
        (lambda: load_schedule(None), "path must be of type str or Path, got None; name the JSON file"),
    ],
)
def test_what_is_of_another_kind_is_refused_where_it_is_given(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()
