import torch

from models.retraining.reproducible import same_numbers_twice


def test_torch_is_asked_for_the_same_bits_and_left_as_it_was() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with same_numbers_twice("cpu"):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert torch.are_deterministic_algorithms_enabled() == before
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
