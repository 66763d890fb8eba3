"""Ablate a configuration by changing one component at a time.

Stage: preset -> *variants* -> study. The questions are those of CS336, assignment 1 of 2025,
section 7, and a few more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.config.run_config import RunConfig
from trainer.experiments.study import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """One variant of the baseline."""

    name: str
    question: str
    changes: dict[str, object]
    """Field -> value, against the baseline."""
    learning_rate_factor: float = 1.0
    """Factor on the baseline's learning rate."""
    d_ff_factor: float | None = None
    """d_ff as a multiple of d_model; None: unchanged."""


ABLATIONS = (
    Ablation(
        name="no-norm",
        question="What does RMSNorm do, at the same learning rate?",
        changes={"model.norm": "none"},
    ),
    Ablation(
        name="no-norm-lower-rate",
        question="Can a lower learning rate replace RMSNorm?",
        changes={"model.norm": "none"},
        learning_rate_factor=0.25,
    ),
    Ablation(
        name="no-norm-lowest-rate",
        question="Can an even lower one? The best of the three is retuned for no RMSNorm.",
        changes={"model.norm": "none"},
        learning_rate_factor=0.0625,
    ),
    Ablation(
        name="post-norm",
        question="Does it matter whether the norm comes before or after a sublayer?",
        changes={"model.norm": "post"},
    ),
    Ablation(
        name="nope",
        question="What do rotary positions add to the order that causal attention implies?",
        changes={"model.position": "none"},
    ),
    Ablation(
        name="silu",
        question="What does the gate of SwiGLU add, at equal parameters?",
        changes={"model.feed_forward": "silu"},
        d_ff_factor=4.0,
    ),
    Ablation(
        name="tied",
        question="Can one matrix serve as both embedding and head?",
        changes={"model.tie_embeddings": True},
    ),
    Ablation(
        name="half-rope",
        question="Does it matter which features are rotated together?",
        changes={"model.rope_layout": "half"},
    ),
    Ablation(
        name="qk-norm",
        question="Do norms on queries and keys help at this size?",
        changes={"model.qk_norm": True},
    ),
    Ablation(
        name="muon",
        question="Does Muon reach a lower loss than AdamW in as many steps?",
        changes={"optimizer.name": "muon"},
    ),
)


def retuned_families() -> list[list[Ablation]]:
    """Return families of ablations that differ only in their learning rate, highest first.

    >>> [[one.learning_rate_factor for one in family] for family in retuned_families()]
    [[1.0, 0.25, 0.0625]]
    """
    families: dict[str, list[Ablation]] = {}
    for one in ABLATIONS:
        families.setdefault(repr((one.changes, one.d_ff_factor)), []).append(one)
    several = [family for family in families.values() if len(family) > 1]
    return [sorted(family, key=lambda one: -one.learning_rate_factor) for family in several]


def ablate(base: RunConfig, names: Sequence[str] = (), *, num_seeds: int = 3) -> list[Trial]:
    """Return the baseline and its variants, every seed of each.

    Args:
        base: the baseline.
        names: of ablations; empty: all.
        num_seeds: seeds base.seed, base.seed + 1, ... of each.

    Raises:
        ValueError: an unknown name, or a variant that is invalid for this baseline.

    >>> from trainer.config.presets import load_preset
    >>> [trial.name for trial in ablate(load_preset("quickstart"), ["nope"], num_seeds=1)]
    ['baseline,seed=0', 'nope,seed=0']
    """
    by_name = {ablation.name: ablation for ablation in ABLATIONS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"unknown ablation {unknown[0]!r}; available: {', '.join(by_name)}")
    variants: dict[str, dict[str, object]] = {"baseline": {}}
    variants |= {name: _changes(by_name[name], base) for name in names or by_name}
    return [
        Trial(name=f"{name},seed={seed}", changes=changes | {"seed": seed})
        for name, changes in variants.items()
        for seed in range(base.seed, base.seed + num_seeds)
    ]


def _changes(ablation: Ablation, base: RunConfig) -> dict[str, object]:
    changes = dict(ablation.changes)
    if ablation.learning_rate_factor != 1.0:
        rate = base.optimizer.learning_rate * ablation.learning_rate_factor
        changes["optimizer.learning_rate"] = rate
    if ablation.d_ff_factor is not None:
        changes["model.d_ff"] = round(base.model.d_model * ablation.d_ff_factor)
    return changes
