import subprocess
import sys
from pathlib import Path

import pytest

from greedylr import load_preset
from greedylr.distributed import is_distributed, preset_on_rank_zero

PROGRAM = """
import math, sys
import torch
import torch.distributed as dist
from greedylr import GreedyLR, GreedyLRParameters, load_preset
from greedylr.distributed import mean_over_ranks, preset_on_rank_zero

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
assert mean_over_ranks(1.0 + 2 * rank) == 2.0
assert math.isnan(mean_over_ranks(math.nan if rank else 1.0))

preset = preset_on_rank_zero(lambda: load_preset(["robust", "no such preset"][rank]))
assert preset == load_preset("robust")
try:
    preset_on_rank_zero(lambda: load_preset("no such preset"))
except Exception as error:
    print(type(error).__name__, error, file=sys.stderr)
else:
    raise SystemExit("a preset that rank 0 cannot load was given out")

generator = torch.Generator().manual_seed(rank)
for non_finite in ("bad", "ignore"):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = GreedyLR(
        optimizer,
        GreedyLRParameters(factor=0.5, patience=1, smooth=True, window_size=3, non_finite=non_finite),
    )
    for step in range(40):
        loss = 5.0 - step / 10 + torch.randn((), generator=generator)
        scheduler.step(math.nan if rank == 1 and step % 9 == 5 else loss)
        print(scheduler.get_last_lr()[0])
dist.destroy_process_group()
"""


@pytest.mark.integration
def test_two_processes_with_different_losses_keep_one_rate(tmp_path: Path) -> None:
    program = tmp_path / "rank.py"
    program.write_text(PROGRAM)
    ranks = [
        subprocess.Popen(
            [sys.executable, str(program), str(rank), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "", "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]
    (first, first_errors), (second, second_errors) = (rank.communicate(timeout=120) for rank in ranks)
    assert [rank.returncode for rank in ranks] == [0, 0], first_errors + second_errors
    assert first == second
    rates = list(map(float, first.split()))
    assert len(rates) == 80
    assert len(set(rates)) > 2
    assert "ValueError rank 0 could not load the preset" in second_errors
    assert "could not load the preset" not in first_errors


def test_single_process_resolves_for_itself() -> None:
    assert not is_distributed()
    assert preset_on_rank_zero(lambda: load_preset("robust")) == load_preset("robust")
