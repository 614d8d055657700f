"""The published JSON Schema of presets, generated from the dataclasses.

`python -m greedylr.preset_schema > greedylr/preset-schema.json` publishes it anew after a change of a field. Ranges and
what fields demand of one another are checked on loading and stand in the dataclasses' docstrings.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from greedylr.preset import Preset
from greedylr.preset_migrations import SCHEMA_VERSION
from greedylr.strict_json import LARGEST_INTEGER

SCHEMA_FILE = "preset-schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Node = dict[str, Any]


def preset_schema() -> Node:
    """Return the JSON Schema (draft 2020-12) of a preset's JSON."""
    definitions: dict[str, Node] = {}
    root = _node(Preset, definitions)
    definitions["Preset"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    # Every document states it, whatever the dataclass has as its default.
    definitions["Preset"]["required"].append("schema_version")
    return {
        "$schema": DIALECT,
        "title": f"A preset of GreedyLR, schema version {SCHEMA_VERSION}",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def published_schema() -> Node:
    """Return the schema that travels with the library."""
    text = (resources.files("greedylr") / SCHEMA_FILE).read_text("utf-8")
    schema: Node = json.loads(text)
    return schema


def schema_text() -> str:
    """Return the schema as the file that is published."""
    return json.dumps(preset_schema(), indent=2) + "\n"


def _node(annotation: Any, definitions: dict[str, Node]) -> Node:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if dataclasses.is_dataclass(annotation):
        return _reference(annotation, definitions)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_node(choice, definitions) for choice in arguments]}
    if origin is tuple:
        if arguments[1:] == (Ellipsis,):
            return {"type": "array", "items": _node(arguments[0], definitions)}
        items = [_node(item, definitions) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _node(arguments[1], definitions)}
    if annotation is int:
        return {"type": "integer", "minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER}
    return {"type": {float: "number", str: "string", bool: "boolean", type(None): "null"}[annotation]}


def _reference(cls: Any, definitions: dict[str, Node]) -> Node:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # before its fields, which may refer to it
        fields, hints = dataclasses.fields(cls), get_type_hints(cls)
        definitions[cls.__name__] = {
            "type": "object",
            "description": (cls.__doc__ or "").partition("\n")[0],
            "properties": {field.name: _node(hints[field.name], definitions) for field in fields},
            "required": [
                field.name
                for field in fields
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            ],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{cls.__name__}"}


if __name__ == "__main__":
    sys.stdout.write(schema_text())
