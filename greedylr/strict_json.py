"""Dataclasses to and from JSON, refusing what does not fit with the path of the field at fault.

Only data is ever built: dataclasses, numbers, strings, tuples and mappings of them, as the annotations say.
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

# The integers that JSON readers agree on (RFC 8259, section 6).
LARGEST_INTEGER = 2**53 - 1

_MESSAGE = reprlib.Repr()
_MESSAGE.maxlevel, _MESSAGE.maxstring, _MESSAGE.maxlong, _MESSAGE.maxdict = 2, 80, 40, 8


def encode(value: object) -> Any:
    """Return plain builtins for a dataclass (or a nest of them), each with all of its fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    # NumPy's float64 is a float, but no plain one.
    return float(value) if isinstance(value, float) else value


def decode(cls: type[T], value: object, path: str = "$") -> T:
    """Return a `cls` from plain builtins.

    Raises
    ------
    ValueError
        For an unknown or missing field, a wrong type or a value out of range, with the path of the field.
    """
    return _decode(cls, value, path)  # type: ignore[no-any-return]


def parse(text: str) -> Any:
    """Parse JSON, refusing repeated keys, NaN and infinities."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error


def shorten(value: object) -> str:
    """Return a value as an error message shows it: neither long nor deep, whatever a file held."""
    return _MESSAGE.repr(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        repeated = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"a field must stand once in its object, got {repeated!r} twice")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"numbers must be finite, got {name}")


def _decode(annotation: Any, value: object, path: str) -> Any:
    origin = get_origin(annotation)
    if dataclasses.is_dataclass(annotation):
        return _decode_dataclass(annotation, value, path)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(annotation), value, path)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in get_args(annotation)):
            raise ValueError(
                f"{path} must be one of {', '.join(map(repr, get_args(annotation)))}, got {shorten(value)}"
            )
        return value
    if origin is tuple:
        return _decode_tuple(get_args(annotation), value, path)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{path} must be an object, got {shorten(value)}")
        return {key: _decode(get_args(annotation)[1], item, f"{path}.{key}") for key, item in value.items()}
    return _decode_scalar(annotation, value, path)


def _decode_scalar(annotation: Any, value: object, path: str) -> Any:
    names = {
        bool: "true or false",
        int: f"an integer of at most {LARGEST_INTEGER}",
        float: "a finite number",
        str: "a string",
    }
    if annotation is float and type(value) is int:
        value = _to_float(value)
    fits = type(value) is annotation
    if fits and isinstance(value, float):
        fits = math.isfinite(value)
    elif fits and isinstance(value, int):
        fits = abs(value) <= LARGEST_INTEGER
    if not fits:
        raise ValueError(f"{path} must be {names.get(annotation, annotation)}, got {shorten(value)}")
    return value


def _to_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _decode_tuple(arguments: tuple[Any, ...], value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{path} must be a list, got {shorten(value)}")
    if arguments[1:] == (Ellipsis,):
        arguments = arguments[:1] * len(value)
    if len(value) != len(arguments):
        raise ValueError(f"{path} must have {len(arguments)} entries, got {len(value)}")
    return tuple(_decode(arguments[index], item, f"{path}[{index}]") for index, item in enumerate(value))


def _decode_union(choices: tuple[Any, ...], value: object, path: str) -> Any:
    if value is None and type(None) in choices:
        return None
    choices = tuple(choice for choice in choices if choice is not type(None))
    if len(choices) == 1:
        return _decode(choices[0], value, path)
    known = " or ".join(choice.__name__ for choice in choices)
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold the fields of {known}, got {shorten(value)}")
    # Of several dataclasses the fields decide: the one that knows them, else the nearest, which names the intruder.
    unknown = [len(set(value) - {field.name for field in dataclasses.fields(choice)}) for choice in choices]
    if unknown.count(0) > 1:
        raise ValueError(
            f"{path} fits {known} alike, got {shorten(value)}; write out a field that only one of them has"
        )
    return _decode_dataclass(choices[unknown.index(min(unknown))], value, path)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _decode_dataclass(cls: Any, value: object, path: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{path} must be an object, got {shorten(value)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(set(value) - set(fields), key=str):
        raise ValueError(f"{path}.{unknown[0]} is no known field; fields here are {', '.join(fields)}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing := [name for name in required if name not in value]:
        raise ValueError(f"{path}.{missing[0]} is missing")
    arguments = {name: _decode(_hints(cls)[name], item, f"{path}.{name}") for name, item in value.items()}
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
