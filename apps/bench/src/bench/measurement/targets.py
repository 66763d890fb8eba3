"""Hold the targets: what must be reached, and what is aimed at.

Stage: measurements -> *verdicts*. This is the only place for targets. Not here: measuring.
"""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["aim", "must", "missed", "reported"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One line of the table of targets."""

    what: str
    """The measurement, and the peer."""
    unit: Literal["x", "s", "GB", "of peak"]
    """"x" is ours against a peer, or twice the text against once; other units are absolute."""
    must: float | None = None
    """The required value; None: reported only."""
    aim: float | None = None
    """The value to aim for."""
    is_at_least: bool = True
    """Whether larger is better."""
    shown_as: Literal["time", "tokens/s", "GB", "share"] = "time"
    """Unit for display; speeds are kept as seconds per token."""

    def judge(self, value: float | None) -> Verdict:
        """Return which target a value reaches.

        >>> Figure(what="decode", unit="x", must=3, aim=10).judge(4.5)
        'must'
        """
        if value is None or self.must is None:
            return "reported"
        if self.aim is not None and self._reaches(value, self.aim):
            return "aim"
        return "must" if self._reaches(value, self.must) else "missed"

    def _reaches(self, value: float, target: float) -> bool:
        return value >= target if self.is_at_least else value <= target


def _at_most(what: str, unit: Literal["x", "s", "GB"], must: float, aim: float | None) -> Figure:
    shown_as = "GB" if unit == "GB" else "time"
    return Figure(what=what, unit=unit, must=must, aim=aim, is_at_least=False, shown_as=shown_as)


def _speed(what: str, must: float | None = None, aim: float | None = None) -> Figure:
    return Figure(what=what, unit="x", must=must, aim=aim, shown_as="tokens/s")


def _share(what: str, must: float | None = None, aim: float | None = None) -> Figure:
    return Figure(what=what, unit="of peak", must=must, aim=aim, shown_as="share")


FIGURES = {
    "encode-cold": Figure(what="encode, cold cache / gigatoken", unit="x", must=1.3, aim=1.7),
    "encode-warm": Figure(what="encode, warm cache / gigatoken", unit="x", must=1.2, aim=2),
    "encode-array": Figure(
        what="encode, cold, file to array / tiktoken", unit="x", must=20, aim=40
    ),
    "disk": Figure(what="encode, file to file on disk / gigatoken", unit="x"),
    "calls": Figure(what="short calls, geometric mean / tiktoken", unit="x", must=1, aim=2),
    "calls-10": Figure(what="short calls, 10 characters / tiktoken", unit="x"),
    "train-gigatoken": Figure(what="train / gigatoken", unit="x", must=5, aim=10),
    "train-rustbpe": Figure(what="train / rustbpe", unit="x", must=15, aim=25),
    "train-huggingface": Figure(what="train / HF tokenizers", unit="x", must=40, aim=80),
    "train-first": Figure(what="train, first call of a process / gigatoken", unit="x"),
    "train-memory": _at_most("train, peak memory", "GB", 0.4, 0.25),
    "decode": Figure(what="decode, array of ids / tiktoken", unit="x", must=3, aim=10),
    "decode-list": Figure(what="decode, list of ids / tiktoken", unit="x"),
    "start": _at_most("new process to first id, Tokenizer.load", "s", 0.5, 0.25),
    "start-files": Figure(what="new process to first id, from_files", unit="s"),
    "start-tiktoken": Figure(what="new process to first id, tiktoken", unit="s"),
    "jit": _at_most("first JIT, both packages", "s", 15, 6),
    "jit-cached": Figure(what="the same, kernels cached", unit="s"),
    "growth": _at_most("twice the text / once", "x", 2.05, None),
    "train-bfloat16": _speed("CPU, bf16: training / best baseline", 1.2, 1.5),
    "train-bfloat16-peak": _share("CPU, bf16: training, share of matmul peak", 0.60, 0.72),
    "train-float32": _speed("CPU, fp32: training / best baseline", 1.05, 1.25),
    "train-float32-peak": _share("CPU, fp32: training, share of matmul peak"),
    "model-memory": Figure(
        what="peak memory, 32 windows at once, bf16 / HF",
        unit="x",
        must=0.7,
        aim=0.5,
        is_at_least=False,
        shown_as="GB",
    ),
    "generate-bfloat16": _speed("CPU, bf16: generation, batch 1 / HF generate, bf16", 2.5, 4),
    "generate-float32": _speed("CPU, fp32: generation, batch 1 / HF generate, fp32"),
    "generate-int8": _speed("CPU, int8: generation, batch 1 / HF generate, bf16"),
    "cuda": _speed("CUDA, bf16, <= 32,768 tokens per step: training / HF + compile", 1.5, 2),
    "cuda-peak": _share("CUDA, bf16, <= 32,768 tokens per step: share of matmul peak", 0.30, 0.55),
    "cuda-large": _speed("CUDA, bf16, 131,072 tokens per step: training / HF + compile"),
    "cuda-end-to-end": _at_most("CUDA: 327.68M tokens end to end", "s", 160, 85),
}
"""The targets by the keys of rows and JSON."""
