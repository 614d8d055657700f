"""A plain loop of torch that greedylr can repeat with other schedules; it logs to MLflow as it would without greedylr.

[groups."digits-sgd"]
command = "python docs/examples/plain/train.py --seed {seed} --lr {learning_rate} --schedule {schedule}"
metric = "val_loss"
report_metric = "test_loss"
"""

import argparse

import mlflow
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from greedylr import load_schedule

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--schedule", required=True)
parser.add_argument("--steps", type=int, default=400)
given = parser.parse_args()

images, classes = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(classes)
# The same rows for every seed: what the rate is chosen by and what is reported never meet.
rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split([1000, 400, 397])
training, held_out = rows[0], {"val_loss": rows[1], "test_loss": rows[2]}

# The seed fixes initial weights and order of the data, so that two schedules with one seed are a pair.
torch.manual_seed(given.seed)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=given.lr, momentum=0.9)
scheduler = load_schedule(given.schedule).attach(optimizer, total_steps=given.steps, model=model)


def log(step: int) -> None:
    """Log the held-out losses and the rate."""
    with torch.no_grad():
        losses = {name: float(cross_entropy(model(x[part]), y[part])) for name, part in held_out.items()}
    mlflow.log_metrics({**losses, "learning_rate": scheduler.get_last_lr()[0]}, step=step)


# Takes the run of MLFLOW_RUN_ID, where greedylr reads the losses.
with mlflow.start_run():
    mlflow.log_params(vars(given))
    log(0)  # before any step: the loss of having learned nothing
    for step in range(1, given.steps + 1):
        batch = training[torch.randint(len(training), (64,))]
        loss = cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss)
        if step % 50 == 0 or step == given.steps:
            log(step)
