"""A training command that needs no framework: a noisy parabola, its schedule by greedylr, its losses into MLflow's run.

It writes what MLflow's client writes, without the seconds that its import takes; tests/pipeline/test_command_runs.py
and the examples go through the client.
"""

from pathlib import Path

import greedylr

ROOT = Path(greedylr.__file__).parents[1]

TRAINING = """
import os, random, sqlite3, sys, time
from pathlib import Path
from greedylr import load_schedule

class Optimizer:
    def __init__(self, rate):
        self.param_groups = [{"lr": rate}]

seed, rate, path, bad = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
with Path("ran").open("a") as file:
    file.write(f"{seed}\\n")
draw = random.Random(seed if "unsteady" not in bad else time.time_ns())
optimizer = Optimizer(rate)
scheduler = load_schedule(path).attach(optimizer, total_steps=60)
if f"slow-{seed}" in bad:
    Path("pid").write_text(str(os.getpid()))
    time.sleep(600)
if str(seed) in bad:
    raise SystemExit("the data are gone")
weight, points = draw.uniform(1.5, 2.5), []
for step in range(61):
    if step % 10 == 0:
        values = {"val_loss": weight**2 + 0.1, "test_loss": weight**2 + 0.2, "accuracy": 1 - weight**2}
        values["lr"] = optimizer.param_groups[0]["lr"]
        points += [(name, value, time.time_ns() // 10**6, os.environ["MLFLOW_RUN_ID"], step)
                   for name, value in values.items()]
    weight -= optimizer.param_groups[0]["lr"] * (weight + 0.3 * draw.gauss(0, 1))
    if not abs(weight) < 1e100:
        points.append(("val_loss", 0.0, time.time_ns() // 10**6, os.environ["MLFLOW_RUN_ID"], step + 1))
        break
    scheduler.step(0.5 * weight**2)
with sqlite3.connect(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"), timeout=60) as store:
    for name, value, now, run, step in points:
        is_nan = int(name == "val_loss" and value == 0)
        store.execute("insert into metrics (key, value, timestamp, run_uuid, step, is_nan) values (?, ?, ?, ?, ?, ?)",
                      (name, value, now, run, step, is_nan))
"""
