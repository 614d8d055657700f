import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr.strict_json import decode, encode, parse, shorten


@dataclass(frozen=True, kw_only=True)
class Circle:
    radius: float
    colour: Literal["red", "blue"] = "red"

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise ValueError(f"radius must be > 0, got {self.radius!r}")


@dataclass(frozen=True, kw_only=True)
class Square:
    side: float
    colour: Literal["red", "blue"] = "red"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    title: str
    copies: int = 1
    framed: bool = False
    shape: Circle | Square | None = None
    scale: float | None = None
    points: tuple[float, ...] = ()
    corner: tuple[int, str] = (0, "a")
    counts: Mapping[str, int] = field(default_factory=dict)
    circles: tuple[Circle, ...] = ()


FULL = Drawing(
    title="Übung",
    copies=3,
    framed=True,
    shape=Square(side=2.5, colour="blue"),
    scale=1e-300,
    points=(1.0, -0.5),
    corner=(7, "b"),
    counts={"a": 1, "b": 2},
    circles=(Circle(radius=1.0), Circle(radius=2.0)),
)


@pytest.mark.parametrize("drawing", [FULL, Drawing(title="")])
def test_decoding_undoes_encoding(drawing: Drawing) -> None:
    assert decode(Drawing, json.loads(json.dumps(encode(drawing)))) == drawing


def test_encoding_writes_every_field_out() -> None:
    assert encode(Drawing(title="x")) == {
        "title": "x",
        "copies": 1,
        "framed": False,
        "shape": None,
        "scale": None,
        "points": [],
        "corner": [0, "a"],
        "counts": {},
        "circles": [],
    }


def test_encoding_makes_a_plain_float_of_a_float_of_numpy() -> None:
    assert type(encode(Circle(radius=np.float64(0.5)))["radius"]) is float


def test_integer_is_taken_for_a_float_and_becomes_one() -> None:
    circle = decode(Circle, {"radius": 2})
    assert type(circle.radius) is float
    assert circle.radius == 2.0


def test_fields_left_out_take_their_defaults() -> None:
    assert decode(Drawing, {"title": "x"}) == Drawing(title="x")


def test_union_of_dataclasses_is_told_apart_by_the_fields() -> None:
    assert decode(Drawing, {"title": "x", "shape": {"side": 1.0}}).shape == Square(side=1.0)
    assert decode(Drawing, {"title": "x", "shape": {"radius": 1.0}}).shape == Circle(radius=1.0)


DEEP: list[Any] = []
for _ in range(700):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, r"^\$.titel is no known field; fields here are title, copies, framed, "),
        ({"title": None}, r"^\$.title must be a string, got None$"),
        ({"title": 1}, r"^\$.title must be a string, got 1$"),
        ({"copies": 1.0}, r"^\$.copies must be an integer of at most 9007199254740991, got 1.0$"),
        ({"copies": True}, r"^\$.copies must be an integer .*, got True$"),
        ({"copies": 2**53}, r"^\$.copies must be an integer .*, got 9007199254740992$"),
        ({"copies": -(10**400)}, r"^\$.copies must be an integer .*, got -10000\d+\.\.\.0+$"),
        ({"framed": 1}, r"^\$.framed must be true or false, got 1$"),
        ({"framed": "true"}, r"^\$.framed must be true or false, got 'true'$"),
        ({"scale": "1"}, r"^\$.scale must be a finite number, got '1'$"),
        ({"scale": False}, r"^\$.scale must be a finite number, got False$"),
        ({"scale": math.nan}, r"^\$.scale must be a finite number, got nan$"),
        ({"scale": -math.inf}, r"^\$.scale must be a finite number, got -inf$"),
        ({"scale": 10**400}, r"^\$.scale must be a finite number, got inf$"),
        ({"points": "12"}, r"^\$.points must be a list, got '12'$"),
        ({"points": {"0": 1}}, r"^\$.points must be a list, got {'0': 1}$"),
        ({"points": [1.0, None]}, r"^\$.points\[1\] must be a finite number, got None$"),
        ({"corner": [1]}, r"^\$.corner must have 2 entries, got 1$"),
        ({"corner": ["b", 1]}, r"^\$.corner\[0\] must be an integer .*, got 'b'$"),
        ({"counts": []}, r"^\$.counts must be an object, got \[\]$"),
        ({"counts": {"a": 0.5}}, r"^\$.counts.a must be an integer .*, got 0.5$"),
        ({"circles": [{"radius": 1}, {"radius": 0}]}, r"^\$.circles\[1\]: radius must be > 0, got 0.0$"),
        ({"circles": [{"colour": "red"}]}, r"^\$.circles\[0\].radius is missing$"),
        ({"circles": [{"radius": 1, "colour": "green"}]}, r"colour must be one of 'red', 'blue', got 'green'$"),
        ({"shape": 3}, r"^\$.shape must hold the fields of Circle or Square, got 3$"),
        ({"shape": {"side": 1, "edge": 2}}, r"^\$.shape.edge is no known field; fields here are side, colour$"),
        ({"shape": {"colour": "red"}}, r"^\$.shape fits Circle or Square alike, got {'colour': 'red'}; write out"),
        ({"title": DEEP}, r"^\$.title must be a string, got \[\[\[\.\.\.\]\]\]$"),
        ({"title": ["x"] * 10_000}, r"^\$.title must be a string, got \[('x', )+\.\.\.\]$"),
        ({1: 2, "a": 3}, r"^\$.1 is no known field"),
    ],
)
def test_value_that_does_not_fit_is_refused_with_its_path(change: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(Drawing, {"title": "x", **change})


@pytest.mark.parametrize("value", [None, 1, "x", [], [["title", "x"]]])
def test_what_is_no_object_is_no_dataclass(value: object) -> None:
    with pytest.raises(ValueError, match=r"^\$ must be an object, got "):
        decode(Drawing, value)


def test_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"^\$.title is missing$"):
        decode(Drawing, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON: Expecting value"),
        ("{", "not valid JSON: Expecting property name"),
        ('{"a": 1} x', "not valid JSON: Extra data"),
        ('{"a": 1,}', "not valid JSON: "),
        ("{'a': 1}", "not valid JSON: Expecting property name"),
        ('{"a": NaN}', "numbers must be finite, got NaN"),
        ('{"a": [Infinity]}', "numbers must be finite, got Infinity"),
        ('{"a": -Infinity}', "numbers must be finite, got -Infinity"),
        ('{"a": 1, "b": 2, "a": 1}', "a field must stand once in its object, got 'a' twice"),
        ('[{"x": {"b": 1, "b": 1}}]', "a field must stand once in its object, got 'b' twice"),
        ("[" * 100_000, "not valid JSON: "),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "not valid JSON: "),
        ("1" * 5000, "digits"),
        ("\ufeff{}", "not valid JSON: Unexpected UTF-8 BOM"),
    ],
)
def test_text_that_is_no_strict_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_error_message_shows_any_value_in_little_space(value: object) -> None:
    assert len(shorten(value)) < 2000


def test_every_depth_of_nesting_is_parsed_and_refused_or_not_parsed() -> None:
    # Between what the parser can hold and what repr() can show there must be no depth with another error.
    for depth in range(800, 1000, 3):
        with pytest.raises(ValueError, match=r"not valid JSON|must be a string"):
            decode(Drawing, {"title": parse("[" * depth + "]" * depth)})
