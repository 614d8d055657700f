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


def outputs(program: Path, folder: Path) -> list[tuple[str, str]]:
    """What two ranks of the program print, and their errors."""
    ranks = [
        subprocess.Popen(
            [sys.executable, str(program), str(rank), str(folder / "meeting")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "", "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]
    told = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "".join(errors for _, errors in told)
    return told


@pytest.mark.integration
def test_two_processes_with_different_losses_keep_one_rate(tmp_path: Path) -> None:
    program = tmp_path / "rank.py"
    program.write_text(PROGRAM)
    (first, first_errors), (second, second_errors) = outputs(program, tmp_path)
    assert first == second
    rates = list(map(float, first.split()))
    assert len(rates) == 80
    assert len(set(rates)) > 2
    assert "ValueError rank 0 could not load the preset" in second_errors
    assert "could not load the preset" not in first_errors


RESTORING = """
import math, sys
import torch
import torch.distributed as dist
from greedylr import GreedyLRParameters, GreedyLR, Probe, Rollback, Schedule

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
schedule = Schedule(
    rule=GreedyLRParameters(factor=0.5, patience=3, smooth=True, window_size=4, non_finite="ignore"),
    probe=Probe(share=0.2, lowest=0.1, highest=1e4),
    rollback=Rollback(guard=1.0, limit=5),
)
scheduler = GreedyLR(optimizer, schedule.resolve(100), model=model)
scheduler.on_change = lambda decision: print(decision.kind, decision.step, decision.new_rates)
generator = torch.Generator().manual_seed(rank)  # each rank sees another loss
for step in range(100):
    inputs = torch.randn(8, 4, generator=generator)
    targets = inputs.sum(1, keepdim=True) + torch.randn(8, 1, generator=generator)
    loss = ((model(inputs) - targets) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= 2
        if rank == 1 and step == 70:  # a best whose own step one rank alone has ruined is kept by none
            parameter.grad.fill_(math.nan)
    optimizer.step()
    # The NaN is planted on one rank only, and the rate is the same on both.
    scheduler.step(math.nan if rank == 1 and step in (50, 60) else 0.0 if step == 70 else loss.detach())
    if step in (50, 60, 99):
        print(step, model.weight.tolist(), scheduler.get_last_lr())
dist.destroy_process_group()
"""


@pytest.mark.integration
def test_two_processes_sweep_and_restore_at_the_same_steps(tmp_path: Path) -> None:
    program = tmp_path / "rank.py"
    program.write_text(RESTORING)
    (first, _), (second, _) = outputs(program, tmp_path)
    assert first == second
    told = [line.split()[:2] for line in first.splitlines()]
    assert [kind for kind, _ in told].count("probe") == 1
    assert {("rollback", "51"), ("rollback", "61")} <= {(kind, step) for kind, step in told}
    assert "nan" not in first


def test_single_process_resolves_for_itself() -> None:
    assert not is_distributed()
    assert preset_on_rank_zero(lambda: load_preset("robust")) == load_preset("robust")
