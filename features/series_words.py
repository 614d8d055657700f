"""The words and patterns by which people name losses, rates and epochs, and those that say that a name is none."""

from typing import Final

TRAINING: Final = frozenset({"train", "training", "trn", "tr", "fit"})
VALIDATION: Final = frozenset(
    {"val", "valid", "validation", "eval", "evaluation", "dev", "heldout", "holdout", "devset", "valset"}
)
TEST: Final = frozenset({"test", "testing", "testset"})
LOSS: Final = frozenset({"loss", "losses", "logloss", "mlogloss", "cost"})
ERROR_CRITERIA: Final = frozenset(
    {"mse", "rmse", "mae", "nll", "bce", "ce", "crossentropy", "objective", "reconstruction"}
)
# fmt: off
NEUTRAL: Final = frozenset({
    "total", "overall", "mean", "avg", "average", "running", "smooth", "smoothed", "ema", "epoch", "epochs", "step",
    "steps", "batch", "batches", "iter", "iteration", "iterations", "per", "model", "full", "combined", "metric",
    "metrics", "log", "nats", "global", "end", "on", "error", "multi", "binary",
})
# With one of these words a series is about a loss, not a loss: loss_scale, loss_weight, best_val_loss, lr_loss ...
ABOUT: Final = frozenset({
    "lr", "rate", "scale", "scaler", "scaling", "weight", "weights", "coef", "coeff", "coefficient", "lambda",
    "ratio", "grad", "grads", "gradient", "norm", "std", "var", "variance", "count", "time", "seconds", "patience",
    "best", "min", "max", "minimum", "maximum", "lowest", "final", "last", "initial", "init", "delta", "diff",
    "change", "improvement", "early", "stopping", "stop", "stopped", "threshold", "target", "accuracy", "acc",
    "unscaled", "unweighted", "reward", "rewards", "score", "ppl", "perplexity",
})
# Who plays against whom. Such losses are never summed: each has an optimizer of its own, and none tells how far the
# training is. The generator is what one trains for; a critic's loss is at least an error, an actor's is none.
PLAYERS: Final = (
    ("a generator's loss: in a game of two no loss tells progress",
     frozenset({"g", "gen", "generator", "netg"})),
    ("a critic's loss: an actor's tells no progress",
     frozenset({"critic", "value", "vf", "qf", "qf1", "qf2", "q", "td"})),
    ("an actor's loss, which tells no progress", frozenset({"actor", "policy", "pg", "pi"})),
    ("a discriminator's loss: in a game of two no loss tells progress",
     frozenset({"d", "disc", "discriminator", "dis", "netd"})),
    ("an entropy bonus", frozenset({"entropy", "ent"})),
)
# fmt: on
FINE: Final = frozenset({"step", "batch", "iter", "iteration"})

RATE: Final = r"(?:lrs?|learning_?rates?)"
_OWNER: Final = (
    r"(?:train|training|trainer|optimizer|optim|opt|scheduler|schedule|hyperparameters|hparams|hyper|params|metrics|"
    r"charts|general|current|cur|base|effective|global|model|x)"
)
_OPTIMIZER: Final = (
    r"(?:adam|adam_?w|adamax|nadam|radam|sgd|rms_?prop|ada_?grad|ada_?delta|adafactor|lamb|lars|lion|muon|asgd|rprop|"
    r"optimizer)"
)
_GROUP: Final = r"(?:param_)?(?:group|pg)?_?\d+"
_MODULE: Final = (
    r"(?:backbone|head|body|encoder|decoder|classifier|embeddings?|bias|decay|no_decay|generator|discriminator|gen|disc|"
    r"g|d|actor|critic|policy|value)"
)
# Rates in order of preference. Anything else with "lr" in its name (lr_loss, learning_rate_error, lr-SGD-momentum,
# log_lr) is no rate.
RATES: Final = (
    rf"^{RATE}$",
    rf"^(?:{_OWNER}_)+{RATE}$|^(?:{_OWNER}_)*{RATE}_(?:step|epoch|iter|batch)$",
    rf"^(?:{_OWNER}_)*{RATE}_?{_GROUP}$|^{_OPTIMIZER}_{RATE}$"
    rf"|^(?:{_OWNER}_)*{RATE}_(?:[a-z]+_)?{_OPTIMIZER}(?:_\d+)?(?:_{_GROUP}|_{_MODULE})?$",
    rf"^(?:{_OWNER}_)*(?:{RATE}_{_MODULE}|{_MODULE}_{RATE})$",
)
EPOCH: Final = (
    r"^(?:(?:train|training|trainer|current|global|progress|general|log|time|metrics)_)*"
    r"epochs?(?:_(?:number|num|index|idx|float|progress))?$"
)
# What is alike but for a number is a fold, a loader, a client: one thing several times over.
NUMBER: Final = r"(^|_)(?:fold|split|client|rank|worker|loader|seed|trial|idx|[a-z])?\d+(_|$)"
