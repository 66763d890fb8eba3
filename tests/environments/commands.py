"""Every command of the product, as small as it gets: what is typed, and what it must leave.

`{world}` is a folder made once, that is only read; `{out}` is empty and its own.
"""

from dataclasses import dataclass

TINY = (
    "--tokenizer.vocab-size 300 --tokenizer.num-workers 1 --model.context-length 16 "
    "--model.d-model 16 --model.num-layers 1 --model.num-heads 2 --model.d-ff 32 "
    "--schedule.warmup-steps 2 --training.batch-size 4 --training.max-steps 4 "
    "--training.compile off --evaluation.every-steps 2 --evaluation.num-windows 2 "
    "--evaluation.final-tokens 100 --evaluation.sample-tokens 4 --checkpoint.every-steps 2 "
    "--logging.every-steps 2 --device cpu --corpus.train {world}/corpus.txt"
)
OWN = f"{TINY} --corpus.cache-dir {{out}}/data"
PREPARED = f"{TINY} --corpus.cache-dir {{world}}/data"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One line that a user types."""

    words: str
    says: str = ""
    """Part of what it must write to stdout."""
    leaves: tuple[str, ...] = ()
    """Files below `{out}` that it must leave."""
    is_served: bool = False
    """Whether it runs until it is interrupted."""
    needs: frozenset[str] = frozenset({"torch"})
    """Libraries without which there is no such command."""

    @property
    def name(self) -> str:
        """What it is called in a report."""
        words = self.words.split()
        subject = [word for word in words[1:2] if words[0] == "bench" and word != "--help"]
        return " ".join([words[0], *subject, *(["--help"] if "--help" in words else [])])


RUN_FILES = ("run/summary.json", "run/metrics.jsonl", "run/config.toml", "run/loss.svg")
_TRAINER = (
    Command(words=f"train {OWN} --run-dir {{out}}/run", says="run: ", leaves=RUN_FILES),
    Command(words=f"train {PREPARED} --print-config", says="[corpus]"),
    Command(words=f"prepare {OWN}", says="prepared: "),
    Command(words="generate {world}/run --prompt cät --max-tokens 5", says="t"),
    Command(words="evaluate {world}/run", says="perplexity: "),
    Command(words="doctor {world}/run", says="all whole"),
    Command(
        words="report {world}/run --output {out}/r.html --export {out}/e --png",
        says="written: ",
        leaves=("r.html", "e/runs.csv"),
    ),
    Command(
        words="compare {world}/run {world}/other --output {out}/c.html",
        says="report: ",
        leaves=("c.html",),
    ),
    Command(words="watch {world}/run --port 0", says="watching ", is_served=True),
    Command(
        words="sweep --over optimizer.learning-rate=1e-3,1e-2 --seeds 1 --study {out}/study "
        f"{PREPARED}",
        says="study: ",
        leaves=("study/report.html",),
    ),
    Command(
        words=f"ablate --only nope --seeds 1 --study {{out}}/study {PREPARED}",
        says="study: ",
        leaves=("study/report.html",),
    ),
    Command(
        words=f"lr-range --steps 10 --study {{out}}/study {PREPARED}",
        says="study: ",
        leaves=("study/report.html",),
    ),
    Command(words="costs memory {world}/run", says="checkpoint on disk"),
    Command(
        words="costs plan --hours 2 --device H200 --write {out}/plan.toml",
        says="[model]",
        leaves=("plan.toml",),
    ),
)
_PACKAGES = (
    Command(
        words="train-bpe {world}/corpus.txt --vocab-size 300 --output {out}/v",
        says="saved in ",
        leaves=("v/vocab.json",),
        needs=frozenset(),
    ),
    Command(
        words="count {world}/corpus.txt --output {out}/c.counts",
        says="saved in ",
        leaves=("c.counts",),
        needs=frozenset(),
    ),
    Command(
        words="merge {world}/1.counts {world}/1.counts --output {out}/m.counts",
        says="saved in ",
        leaves=("m.counts",),
        needs=frozenset(),
    ),
    Command(
        words="encode {world}/run/tokenizer {world}/corpus.txt --output {out}/t.npy",
        says="ids of uint16",
        leaves=("t.npy",),
        needs=frozenset(),
    ),
    Command(words="encode {world}/run/tokenizer --text cat", says="\n", needs=frozenset()),
    Command(words="decode {world}/run/tokenizer {world}/t.npy", says="naïve", needs=frozenset()),
    Command(
        words="inspect {world}/run/tokenizer {world}/corpus.txt",
        says="bytes per token",
        needs=frozenset(),
    ),
    Command(
        words="convert {world}/run/tokenizer {out}/tokenizer.json",
        says="300 tokens",
        leaves=("tokenizer.json",),
        needs=frozenset(),
    ),
    Command(
        words="flops tinystories --chart {out}/f.svg",
        says="tinystories",
        leaves=("f.svg",),
        needs=frozenset(),
    ),
    Command(words="params tinystories", says="tinystories", needs=frozenset()),
    Command(
        words="memory tinystories --chart {out}/m.svg",
        says="GB",
        leaves=("m.svg",),
        needs=frozenset(),
    ),
    Command(words="inference tinystories --device H200", says="decode", needs=frozenset()),
    Command(words="plan --hours 2 --device H200", says="learning rate", needs=frozenset()),
    Command(words="measure-peak", says="TFLOP/s"),
)
_BENCH = (
    Command(words="bench sgd-toy --steps 2 --json {out}/s.json", leaves=("s.json",)),
    Command(
        words="bench fuzz --batches 1 --only vocabulary --keep {out}/keep",
        says="vocabulary",
        needs=frozenset(),
    ),
)
WORKING = (*_TRAINER, *_PACKAGES, *_BENCH)
SUBJECTS = (
    *("accounting", "generated-text", "learning", "sgd-toy", "tokenization"),
    *("tokenizer-experiments", "training", "fuzz"),
)
HELP = (
    *(
        Command(words=f"{name} --help", says="sage", needs=one.needs)
        for name, one in {one.words.split()[0]: one for one in (*_TRAINER, *_PACKAGES)}.items()
    ),
    Command(words="bench --help", says="sage", needs=frozenset()),
    *(
        Command(words=f"bench {subject} --help", says="sage", needs=frozenset())
        for subject in SUBJECTS
    ),
)
