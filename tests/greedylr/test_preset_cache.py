import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import greedylr
from greedylr import load_preset
from greedylr.preset_cache import (
    CachedPreset,
    DamagedCopyError,
    cache_folder,
    copy_path,
    in_words,
    read_copy,
    write_copy,
)

ROOT = Path(greedylr.__file__).parent.parent
ADDRESS, REGISTRY = "models:/greedylr-mnist@champion", "http://registry:5000"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREEDYLR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def copy_of(name: str = "robust", *, version: str = "3", fetched_at: str = "2026-11-01T12:00:00+00:00") -> CachedPreset:
    return CachedPreset(
        address=ADDRESS,
        registry=REGISTRY,
        name="greedylr-mnist",
        version=version,
        run_id="0f3a",
        fetched_at=fetched_at,
        preset_json=load_preset(name).to_json(),
    )


def test_a_copy_comes_back_as_it_was_written(folder: Path) -> None:
    assert read_copy(ADDRESS, REGISTRY) is None
    path = write_copy(copy_of())
    assert read_copy(ADDRESS, REGISTRY) == copy_of()
    assert copy_of().preset == load_preset("robust")
    assert list(folder.iterdir()) == [path]


def test_a_new_copy_takes_the_place_of_the_old_one(folder: Path) -> None:
    write_copy(copy_of(version="3"))
    write_copy(copy_of("core", version="4"))
    found = read_copy(ADDRESS, REGISTRY)
    assert found is not None and (found.version, found.preset.name) == ("4", "core")
    assert len(list(folder.iterdir())) == 1


def test_copies_of_another_address_or_registry_are_other_copies() -> None:
    write_copy(copy_of())
    assert read_copy("models:/greedylr-mnist/3", REGISTRY) is None
    assert read_copy(ADDRESS, "http://other:5000") is None


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [
        ("/own", "/xdg", "/own"),
        ("", "/xdg", "/xdg/greedylr"),
        ("", "relative", "/home/me/.cache/greedylr"),
        ("", "", "/home/me/.cache/greedylr"),
        ("~/own", "", "/home/me/own"),
    ],
)
def test_the_folder_follows_xdg_unless_it_is_named(
    own: str, xdg: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("GREEDYLR_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_folder() == Path(expected)


def test_every_changed_byte_of_a_copy_is_noticed() -> None:
    path = write_copy(copy_of())
    whole = path.read_bytes()
    outside_strings = {index for match in re.finditer(rb"\n *", whole) for index in range(*match.span())}
    for position in range(0, len(whole) - 1, 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        if position not in outside_strings:
            with pytest.raises(DamagedCopyError, match=r"is damaged and not used: .*; remove the file"):
                read_copy(ADDRESS, REGISTRY)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_copy_cut_short_is_noticed(share: float) -> None:
    path = write_copy(copy_of())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DamagedCopyError, match="is damaged and not used: not valid JSON"):
        read_copy(ADDRESS, REGISTRY)


def test_a_copy_that_lies_in_the_place_of_another_is_noticed() -> None:
    other = copy_path("models:/greedylr-other/1", REGISTRY)
    write_copy(copy_of()).rename(other)
    with pytest.raises(DamagedCopyError, match=f"it is of {ADDRESS} in {REGISTRY}"):
        read_copy("models:/greedylr-other/1", REGISTRY)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"digest": "0", "copy": {}}', b"\0" * 5000])
def test_what_is_no_copy_at_all_is_noticed(content: bytes) -> None:
    path = write_copy(copy_of())
    path.write_bytes(content)
    with pytest.raises(DamagedCopyError, match="is damaged and not used"):
        read_copy(ADDRESS, REGISTRY)


def test_a_folder_in_the_place_of_a_copy_is_noticed() -> None:
    copy_path(ADDRESS, REGISTRY).mkdir(parents=True)
    with pytest.raises(DamagedCopyError, match=r"is damaged and not used: .*Is a directory"):
        read_copy(ADDRESS, REGISTRY)


def test_a_copy_that_cannot_be_written_leaves_the_old_one_and_no_draft(folder: Path) -> None:
    path = write_copy(copy_of())
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"Is a directory|not empty"):
        write_copy(copy_of("core"))
    assert list(folder.iterdir()) == [path]


def test_a_copy_of_a_newer_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format must be 1, got 2; a newer greedylr wrote this copy"):
        CachedPreset(**(vars(copy_of()) | {"format": 2}))


def test_a_copy_without_a_zone_in_its_time_is_refused() -> None:
    with pytest.raises(ValueError, match="fetched_at must be a time with its zone, got '2026-11-01T12:00:00'"):
        copy_of(fetched_at="2026-11-01T12:00:00")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 seconds"),
        (0.9, "0 seconds"),
        (1, "1 second"),
        (119, "1 minute"),
        (7200, "2 hours"),
        (86_399, "23 hours"),
        (200_000, "2 days"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_age_counts_from_the_fetch() -> None:
    fetched = datetime.now(UTC) - timedelta(hours=3, minutes=20)
    assert copy_of(fetched_at=fetched.isoformat(timespec="seconds")).age() == "3 hours"


# Each process writes its own version again and again, and reads between: always a whole copy, of one of them.
WRITER = f"""
import sys
from dataclasses import replace
from greedylr import load_preset
from greedylr.preset_cache import CachedPreset, read_copy, write_copy
text = load_preset("robust").to_json()
for turn in range(15):
    write_copy(CachedPreset(address={ADDRESS!r}, registry={REGISTRY!r}, name="greedylr-mnist", version=sys.argv[1],
                            run_id="r" * 1000 * (int(sys.argv[1]) % 7), fetched_at="2026-11-01T12:00:00+00:00",
                            preset_json=text))
    found = read_copy({ADDRESS!r}, {REGISTRY!r})
    assert found is not None and len(found.run_id) == 1000 * (int(found.version) % 7), found
"""


def test_fifty_processes_at_once_never_see_half_a_copy(folder: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", WRITER, str(version)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for version in range(50)
    ]
    failures = [text for process in processes if (text := process.communicate(timeout=120)[1])]
    assert (failures, {process.returncode for process in processes}) == ([], {0})
    assert [path.suffix for path in folder.iterdir()] == [".json"]
    found = read_copy(ADDRESS, REGISTRY)
    assert found is not None and json.loads(found.preset_json)["name"] == "robust"
