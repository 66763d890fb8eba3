"""Find the option, field or preset that an unknown name most likely means.

Stage: an unknown name -> *the likeliest known ones* -> a message. Names that other tools use, such
as `n_layer`, come first; then initials, such as `lr`; then spelling, with or without the section.
Not here: former names (`config/former_names.py`).
"""

import difflib
from collections.abc import Iterable

_ELSEWHERE = {
    "optimizer.learning-rate": "lr max-lr peak-lr base-lr eta step-size",
    "optimizer.weight-decay": "wd decay l2",
    "optimizer.max-grad-norm": "grad-clip gradient-clip clip clip-grad clip-norm max-norm gc",
    "optimizer.name": "optim opt",
    "optimizer.adamw.beta1": "adam-beta1 beta-1 b1 betas momentum",
    "optimizer.adamw.beta2": "adam-beta2 beta-2 b2",
    "training.batch-size": "batch train-batch-size global-batch-size per-device-train-batch-size",
    "training.max-steps": "epochs num-epochs num-train-epochs n-epochs max-epochs epoch steps "
    "iters max-iters num-steps total-steps max-train-steps num-iterations",
    "training.compile": "torch-compile",
    "schedule.warmup-steps": "warmup warmup-iters warmup-ratio num-warmup-steps",
    "schedule.name": "scheduler lr-scheduler lr-scheduler-type lr-schedule decay-lr",
    "model.num-layers": "n-layer n-layers nlayer layers depth num-hidden-layers num-blocks",
    "model.num-heads": "n-head n-heads nhead heads num-attention-heads",
    "model.num-kv-heads": "n-kv-head n-kv-heads kv-heads num-key-value-heads",
    "model.d-model": "n-embd n-embed hidden-size dim embed-dim embedding-dim width d-embed",
    "model.d-ff": "intermediate-size ffn-dim ff-dim mlp-dim n-inner hidden-dim dim-feedforward",
    "model.context-length": "block-size seq-len seq-length sequence-length max-seq-len ctx context "
    "n-ctx n-positions max-position-embeddings max-length",
    "tokenizer.vocab-size": "vocab n-vocab num-tokens",
    "evaluation.every-steps": "eval-interval eval-every eval-steps val-every",
    "evaluation.num-windows": "eval-iters val-iters",
    "logging.every-steps": "log-interval log-every logging-steps",
    "checkpoint.every-steps": "save-every save-steps save-interval ckpt-interval",
    "run-dir": "out out-dir output-dir save-dir",
    "dtype": "precision amp mixed-precision bf16 fp16",
    "max-tokens": "max-new-tokens num-tokens length",
    "temperature": "temp",
}
_KNOWN_AS = {name: [*names.split()] for name, names in _ELSEWHERE.items()}


def nearest_names(name: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that a name most likely means; several if they are equally likely.

    >>> nearest_names("optimizer.lr", ["optimizer.name", "optimizer.learning_rate"])
    ['optimizer.learning_rate']
    >>> nearest_names("--n_embd", ["--model.d-ff", "--model.d-model"])
    ['--model.d-model']
    """
    scores = {choice: _likeness(_plain(name), _plain(choice)) for choice in choices}
    return [choice for choice, score in scores.items() if score == max(scores.values())]


def hint(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the likeliest choice, or nothing without choices.

    >>> hint("tinystorys", ["quickstart", "tinystories"])
    "; did you mean 'tinystories'?"
    """
    near = nearest_names(name, choices)
    return f"; did you mean {near[0]!r}?" if near else ""


def _plain(name: str) -> str:
    return name.removeprefix("--").replace("_", "-").lower()


def _likeness(given: str, known: str) -> float:
    """Return the similarity of two names; 2: other tools use the given one for the known one."""
    whole, fields = (given, known), (given.split(".")[-1], known.split(".")[-1])
    for name, others in _KNOWN_AS.items():
        if fields[0] in others and known in (name, name.split(".")[-1]):
            return 2.0
    if fields[0] == "".join(word[:1] for word in fields[1].split("-")):
        return 1.0
    return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in (whole, fields))
