"""Register the optimizers: the settings of each, and what the trainer needs to know about it.

Stage: configuration -> *optimizer* -> step. To add one, write its section and list it in
`Optimizers`; its name, options, checkpoints, sweeps and expected memory follow. The registry is
part of the configuration because a run's options come from it; torch is imported when an optimizer
is built. Not here: how weights are updated (`optim`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from accounting.step import OPTIMIZERS, Optimizer
from trainer.config.field_checks import LARGEST, require_kinds, require_multiplier, require_range

if TYPE_CHECKING:
    import torch
    from torch import nn


class OptimizerSection(ABC):
    """An optimizer: its fields are its own settings, the rest describes it to the trainer.

    A field `learning_rate` is the peak rate of some parameters, whose groups `build` gives a
    `peak_ratio`; None: the common peak.
    """

    __slots__ = ()
    cost: ClassVar[Optimizer]
    """Cost of its updates for accounting: FLOPs, and state per parameter."""
    ramp_exponent: ClassVar[float] = 0.5
    """Under a batch ramp, b windows instead of B scale the learning rate by (b / B)^ramp_exponent.
    Source: Malladi et al. 2022, arXiv:2205.10287, definition 3 (Adam; Muon is treated alike)."""
    fits_graph: ClassVar[bool] = False
    """Whether a captured CUDA graph can hold its step, as `optim.FlatAdamW` does it."""

    @abstractmethod
    def build(
        self, model: "nn.Module", config: "OptimizerConfig", *, dtype: "torch.dtype | None"
    ) -> "torch.optim.Optimizer":
        """Return the optimizer over its parameter groups; norm gains do not decay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWSection(OptimizerSection):
    """AdamW: updates are scaled by the gradient's recent size."""

    beta1: float = 0.9
    """Decay of the gradient's running mean."""
    beta2: float = 0.95
    """Decay of the running mean of its square."""
    eps: float = 1e-8
    """Added to the denominator."""

    cost = OPTIMIZERS["adamw"]
    fits_graph = True

    def __post_init__(self) -> None:
        """Refuse values that no update can use."""
        require_kinds("optimizer.adamw", self)
        require_range("optimizer.adamw", self, "[0, 1)", "beta1", "beta2")
        require_multiplier("optimizer.adamw", self, "eps")

    def build(
        self, model: "nn.Module", config: "OptimizerConfig", *, dtype: "torch.dtype | None"
    ) -> "torch.optim.Optimizer":
        """Return AdamW over matrices, which decay, and vectors, which do not."""
        from optim import AdamW, parameter_groups

        groups = parameter_groups(model, weight_decay=config.weight_decay)
        betas = (self.beta1, self.beta2)
        return AdamW(groups, lr=config.learning_rate, betas=betas, eps=self.eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class MuonSection(OptimizerSection):
    """Muon for hidden matrices; AdamW, set up in its own section, for all other weights."""

    learning_rate: float | None = None
    """Peak learning rate of the hidden matrices; None: optimizer.learning-rate."""
    momentum: float = 0.95
    """Decay of the gradient's running mean, with Nesterov lookahead."""
    scale: Literal["rms", "spectral"] = "rms"
    """rms: entries move as far as AdamW's, so its rates fit; spectral: rates are usually 0.02."""

    cost = OPTIMIZERS["muon"]

    def __post_init__(self) -> None:
        """Refuse values that no update can use."""
        require_kinds("optimizer.muon", self)
        require_range("optimizer.muon", self, "[0, 1)", "momentum")
        require_multiplier("optimizer.muon", self, "learning_rate")
        if self.learning_rate is None and self.scale == "spectral":
            raise ValueError(
                "optimizer.muon.scale is spectral, which optimizer.learning-rate does not fit; "
                "give optimizer.muon.learning-rate, usually 0.02"
            )

    def build(
        self, model: "nn.Module", config: "OptimizerConfig", *, dtype: "torch.dtype | None"
    ) -> "torch.optim.Optimizer":
        """Return Muon over the hidden matrices and AdamW over the rest, each with its own peak."""
        from optim import Muon, muon_groups

        groups = muon_groups(model, weight_decay=config.weight_decay)
        peak = self.learning_rate or config.learning_rate
        for group in groups:
            group["peak_ratio"] = peak / config.learning_rate if group["rule"] == "muon" else 1.0
        return Muon(
            groups,
            lr=config.learning_rate,
            momentum=self.momentum,
            scale=self.scale,
            betas=(config.adamw.beta1, config.adamw.beta2),
            eps=config.adamw.eps,
            compute_dtype=dtype,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SGDSection(OptimizerSection):
    """SGD: updates follow the negative gradient; there are no settings of its own."""

    cost = OPTIMIZERS["sgd"]
    ramp_exponent = 1.0  # Goyal et al. 2017, arXiv:1706.02677

    def build(
        self, model: "nn.Module", config: "OptimizerConfig", *, dtype: "torch.dtype | None"
    ) -> "torch.optim.Optimizer":
        """Return SGD over matrices, which decay, and vectors, which do not."""
        from optim import SGD, parameter_groups

        groups = parameter_groups(model, weight_decay=config.weight_decay)
        return SGD(groups, lr=config.learning_rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizers:
    """The registry: each optimizer's section under its name."""

    adamw: AdamWSection = AdamWSection()
    muon: MuonSection = MuonSection()
    sgd: SGDSection = SGDSection()


OPTIMIZER_NAMES = tuple(spec.name for spec in fields(Optimizers))
GRAPH_OPTIMIZERS = tuple(name for name in OPTIMIZER_NAMES if getattr(Optimizers(), name).fits_graph)
"""Optimizers whose step a captured CUDA graph can hold."""
if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[OPTIMIZER_NAMES]


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig(Optimizers):
    """The parameter update."""

    name: OptimizerName = "adamw"
    """The optimizer; its own settings are in the section of that name."""
    learning_rate: float
    """Peak learning rate; the schedule scales it."""
    weight_decay: float = 0.1
    """Decoupled decay of the matrices, per unit of learning rate; norm gains do not decay."""
    max_grad_norm: float | None = 1.0
    """Global norm to which gradients are clipped; None: no clipping."""

    def __post_init__(self) -> None:
        """Refuse values that no update can use."""
        require_kinds("optimizer", self)
        require_multiplier("optimizer", self, "learning_rate", "max_grad_norm")
        require_range("optimizer", self, f"[0, {LARGEST:g}]", "weight_decay")

    @property
    def section(self) -> OptimizerSection:
        """The section of the chosen optimizer."""
        return getattr(self, self.name)

    def build(
        self, model: "nn.Module", *, dtype: "torch.dtype | None" = None
    ) -> "torch.optim.Optimizer":
        """Return the optimizer over the model's parameters.

        `dtype` is that of products inside an update, None the optimizer's default; all state stays
        in the weights' type.
        """
        return self.section.build(model, self, dtype=dtype)
