from pathlib import Path

import pytest

from models.retraining.free_memory import free_bytes, left_of_control_groups


def control_group(folder: Path, *, limit: str, used: int, reclaimable: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {reclaimable}\n")


def test_limit_of_a_container_counts_and_what_can_be_reclaimed_is_free(tmp_path: Path) -> None:
    control_group(tmp_path / "a" / "b", limit="1000", used=700, reclaimable=50)
    assert left_of_control_groups(tmp_path, "0::/a/b\n") == 350


def test_least_of_a_group_and_those_above_it_is_what_is_left(tmp_path: Path) -> None:
    control_group(tmp_path / "a" / "b", limit="max", used=700, reclaimable=0)
    control_group(tmp_path / "a", limit="800", used=750, reclaimable=0)
    control_group(tmp_path, limit="5000", used=750, reclaimable=0)
    assert left_of_control_groups(tmp_path, "0::/a/b\n") == 50


def test_group_named_by_the_host_is_the_mounted_one_inside_a_container(tmp_path: Path) -> None:
    control_group(tmp_path, limit="1000", used=900, reclaimable=0)
    assert left_of_control_groups(tmp_path, "0::/somewhere/on/the/host\n") == 100


def test_older_control_groups_are_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "memory" / "job"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("1000\n")
    (folder / "memory.usage_in_bytes").write_text("400\n")
    (folder / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 100\n")
    assert left_of_control_groups(tmp_path, "5:cpu:/job\n4:memory,hugetlb:/job\n") == 700


def test_without_a_limit_nothing_is_known_of_the_groups(tmp_path: Path) -> None:
    assert left_of_control_groups(tmp_path, "0::/\n") is None


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="the system does not tell")
def test_free_memory_is_less_than_the_machine_has() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < free_bytes("cpu") < total
