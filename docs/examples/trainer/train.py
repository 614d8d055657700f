"""transformers' Trainer as a command of greedylr: a tiny language model that logs by Trainer's own MLflow integration.

[groups."chain-adamw"]
command = "python docs/examples/trainer/train.py --seed {seed} --lr {learning_rate} --schedule {schedule}"
metric = "eval_validation_loss"
report_metric = "eval_test_loss"
"""

import argparse
import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments, set_seed

from greedylr import load_schedule
from greedylr.huggingface import GreedyLRTrainer

WORDS, LENGTH = 32, 16

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--schedule", required=True)
parser.add_argument("--steps", type=int, default=120)
given = parser.parse_args()


def sentences(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Draw sentences in which each word tells something of the next."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.empty(count, LENGTH, dtype=torch.long)
    words[:, 0] = torch.randint(WORDS, (count,), generator=generator)
    for place in range(1, LENGTH):
        steps = torch.randint(1, 4, (count,), generator=generator)
        words[:, place] = (5 * words[:, place - 1] + steps) % WORDS
    return [{"input_ids": row, "labels": row} for row in words]


set_seed(given.seed)
trainer = GreedyLRTrainer(
    model=GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_head=2, n_embd=32, vocab_size=WORDS, n_positions=LENGTH, bos_token_id=0, eos_token_id=0)
    ),
    args=TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        learning_rate=given.lr,
        max_steps=given.steps,
        per_device_train_batch_size=16,
        seed=given.seed,
        eval_strategy="steps",
        eval_steps=40,
        eval_on_start=True,  # the loss of having learned nothing
        logging_steps=20,
        save_strategy="no",
        report_to="mlflow",  # into the run of MLFLOW_RUN_ID
        use_cpu=True,
    ),
    train_dataset=sentences(512, seed=1),
    # What the rate is chosen by and what is reported never meet.
    eval_dataset={"validation": sentences(64, seed=2), "test": sentences(64, seed=3)},
    preset=load_schedule(given.schedule),
)
trainer.train()
