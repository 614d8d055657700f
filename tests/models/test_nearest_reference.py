import pytest

from models.workloads.reference import REFERENCES, nearest_reference


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "SGD", "AdamW"])
@pytest.mark.parametrize("usual_steps", [None, 1, 300, 1_000_000])
def test_the_optimizer_is_compared_first(optimizer: str, usual_steps: int | None) -> None:
    assert REFERENCES[nearest_reference(usual_steps, optimizer)].descriptors.optimizer == optimizer.lower()


@pytest.mark.parametrize("optimizer", [None, "sgd", "adam", "adamw", "lion"])
def test_of_those_the_length_is_compared_on_a_log_scale(optimizer: str | None) -> None:
    lengths = {
        reference.descriptors.total_steps
        for reference in REFERENCES.values()
        if reference.size == "small"
        and reference.pooled
        and (optimizer in (None, "lion") or reference.descriptors.optimizer == optimizer)
    }
    for usual_steps, length in ((1, min(lengths)), (1_000_000, max(lengths))):
        assert REFERENCES[nearest_reference(usual_steps, optimizer)].descriptors.total_steps == length


def test_where_nothing_is_known_it_is_the_first() -> None:
    assert nearest_reference(None, None) == "mnist-mlp"
    assert nearest_reference(None, "sgd") == "mnist-mlp"


def test_what_is_large_or_in_no_pooled_figure_stands_in_for_nothing() -> None:
    found = {
        nearest_reference(steps, optimizer)
        for steps in (None, 1, 100, 300, 3000, 10**6)
        for optimizer in (None, "sgd", "adam", "adamw")
    }
    assert all(REFERENCES[name].size == "small" and REFERENCES[name].pooled for name in found)
