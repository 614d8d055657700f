"""A thousand damaged preset files through `greedylr presets show`: refused in one line, or taken at their word."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from greedylr import load_preset
from greedylr.command_line import application, main

TEXT = load_preset("robust").to_json()
JUNK = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1.5, 1e-300, 1e300, 2**53, 10**400, "", "0.7", "bad", "hold", "wsd"),
    *("cosine", "ä\0", [], {}, [[]], [0.7], {"factor": 0.7}, {"shape": "wsd"}),
)


def places(document: Any) -> Iterator[tuple[Any, str]]:
    """Every (object, key) of a document."""
    for key, value in document.items():
        yield document, key
        if isinstance(value, dict):
            yield from places(value)


def with_another_field(generator: random.Random) -> bytes:
    document = copy.deepcopy(json.loads(TEXT))
    for _ in range(generator.randint(1, 3)):
        place, key = generator.choice([*places(document)] or [(document, "name")])
        match generator.choice(["replace", "replace", "remove", "add", "move"]):
            case "replace":
                place[key] = generator.choice(JUNK)
            case "remove":
                place.pop(key, None)
            case "add":
                place[generator.choice(["typo", "", "factor", "schema_version"])] = generator.choice(JUNK)
            case "move":
                document[key] = place.pop(key, None)
    return json.dumps(document, ensure_ascii=generator.random() < 0.5).encode()


def with_other_bytes(generator: random.Random) -> bytes:
    content = bytearray(TEXT.encode())
    for _ in range(generator.randint(1, 4)):
        content[generator.randrange(len(content))] = generator.randrange(256)
    return bytes(content)


def with_another_digit(generator: random.Random) -> bytes:
    digits = [index for index, character in enumerate(TEXT) if character.isdigit()]
    index = generator.choice(digits)
    return (TEXT[:index] + generator.choice("0123456789-.eE+") + TEXT[index + 1 :]).encode()


def cut(generator: random.Random) -> bytes:
    content, middle = TEXT.encode(), generator.randrange(len(TEXT))
    return generator.choice([content[:middle], content[middle:], content[:middle] + content, content + content])


def shuffled(generator: random.Random) -> bytes:
    lines = TEXT.splitlines()
    one, other = generator.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines).encode()


MUTATIONS: tuple[Callable[[random.Random], bytes], ...] = (
    with_another_field,
    with_another_field,
    with_other_bytes,
    with_another_digit,
    cut,
    shuffled,
)


def same(shown: Any, written: Any) -> bool:
    """Whether all that was written is shown, with the same meaning; what was left out is shown with its default."""
    if isinstance(written, dict):
        return isinstance(shown, dict) and all(key in shown and same(shown[key], written[key]) for key in written)
    if isinstance(written, bool) or not isinstance(written, int | float):
        return type(shown) is type(written) and bool(shown == written)
    return not isinstance(shown, bool) and bool(shown == written)


def test_a_thousand_damaged_files_are_refused_in_one_line_or_taken_at_their_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = typer.main.get_command(application())  # once: building them takes longer than all the rest
    monkeypatch.setattr("greedylr.command_line.application", lambda: commands)
    generator = random.Random(3)
    path = tmp_path / "damaged.json"
    refused = accepted = 0
    while refused + accepted < 1000:
        content = generator.choice(MUTATIONS)(generator)
        if content == TEXT.encode():
            continue
        path.write_bytes(content)
        with pytest.raises(SystemExit) as ended:
            main(["presets", "show", str(path), "--json"])
        out, err = capsys.readouterr()
        if ended.value.code:
            assert (ended.value.code, out) == (2, ""), content
            assert err.startswith(f"Error: {path} cannot be read as a preset: ") and err.count("\n") == 1, content
            refused += 1
        else:
            assert err == ""
            written = json.loads(content)
            # A preset without a verdict is whole in the schema before too, and is shown in the present one.
            assert written.pop("schema_version") in (2, 3)
            assert same(json.loads(out)["preset"], written), content
            accepted += 1
    # Both must be met, or the mutations show nothing.
    assert refused > 700 and accepted > 20
