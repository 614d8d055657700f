import pytest

from models.seeds import derive_seeds


def test_seeds_are_fixed_by_purpose_and_keys() -> None:
    assert derive_seeds("test", "mnist-mlp", "abc", count=3) == [1056189409, 1063763449, 859944400]


def test_longer_list_begins_with_the_shorter_one() -> None:
    assert derive_seeds("search", "a", count=20)[:5] == derive_seeds("search", "a", count=5)
    assert derive_seeds("search", "a", count=20)[5:] == derive_seeds("search", "a", start=5, count=15)


def test_purposes_never_share_a_seed() -> None:
    ranges = [derive_seeds(purpose, "a", count=500) for purpose in ("history", "search", "reference", "test")]
    bounds = [(min(seeds) >> 28, max(seeds) >> 28) for seeds in ranges]
    assert bounds == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert all(len(set(seeds)) == 500 for seeds in ranges)


def test_keys_are_told_apart_by_where_they_are_cut() -> None:
    assert derive_seeds("test", "ab", "c", count=1) != derive_seeds("test", "a", "bc", count=1)


def test_seeds_fit_what_numpy_accepts() -> None:
    assert max(derive_seeds("test", count=100)) < 2**31


def test_unknown_purpose_is_refused() -> None:
    with pytest.raises(ValueError, match="purpose must be one of 'history'"):
        derive_seeds("tests", count=1)  # type: ignore[arg-type]
