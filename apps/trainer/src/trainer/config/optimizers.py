"""Register the optimizers: what each may be set to, and what the trainer must know about it.

Stage: configuration -> *optimizer* -> step. To add one, write its section and list it in
`Optimizers`; its name, options, checkpoints, sweeps and expected memory follow from that. It stands
with the configuration since a run's options come from it; torch is imported when one is built. Not
here: how weights are updated (`optim`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from accounting.step import OPTIMIZERS, Optimizer
from trainer.config.field_checks import (
    LARGEST,
    require_kinds,
    require_multiplier,
    require_share,
)

if TYPE_CHECKING:
    import torch
    from torch import nn


class OptimizerSection(ABC):
    """An optimizer: its fields are its own settings, the rest is what others ask about it.

    A field `learning_rate` is the peak of some of the parameters, which `build` gives a
    `peak_ratio`; None is the peak of all.
    """

    __slots__ = ()
    cost: ClassVar[Optimizer]
    """What its updates take, in accounting's words: FLOPs, and state per parameter."""
    ramp_exponent: ClassVar[float] = 0.5
    """Under a batch ramp, b windows instead of B have (b / B)^ramp_exponent of the learning rate.
    Source: Malladi et al. 2022, arXiv:2205.10287, definition 3 (Adam; Muon is treated alike)."""
    fits_graph: ClassVar[bool] = False
    """Whether a captured CUDA graph can hold its step, as `optim.FlatAdamW` makes it."""

    @abstractmethod
    def build(
        self, model: "nn.Module", config: "OptimizerConfig", *, dtype: "torch.dtype | None"
    ) -> "torch.optim.Optimizer":
        """Return the optimizer over its parameter groups; norm gains do not decay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWSection(OptimizerSection):
    """AdamW: steps are scaled by the gradient's recent size."""

    beta1: float = 0.9
    """Decay of the mean of the gradient."""
    beta2: float = 0.95
    """Decay of the mean of its square."""
    eps: float = 1e-8
    """Added to the denominator."""

    cost = OPTIMIZERS["adamw"]
    fits_graph = True

    def __post_init__(self) -> None:
        """Refuse values that no update can use."""
        require_kinds("optimizer.adamw", self)
        require_share("optimizer.adamw", self, "beta1", "beta2")
        require_multiplier("optimizer.adamw", self, "eps")

    def build(
        self, model: "nn.Module", config: "OptimizerConfig", *, dtype: "torch.dtype | None"
    ) -> "torch.optim.Optimizer":
        """Return AdamW over matrices, which decay, and vectors."""
        from optim import AdamW, parameter_groups

        groups = parameter_groups(model, weight_decay=config.weight_decay)
        betas = (self.beta1, self.beta2)
        return AdamW(groups, lr=config.learning_rate, betas=betas, eps=self.eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class MuonSection(OptimizerSection):
    """Muon: hidden matrices by Muon; embedding, head and gains by AdamW, with adamw's settings."""

    learning_rate: float | None = None
    """Peak learning rate of the hidden matrices; None: optimizer.learning-rate."""
    momentum: float = 0.95
    """Decay of the mean of the gradient, with Nesterov's look ahead."""
    scale: Literal["rms", "spectral"] = "rms"
    """rms: entries move as far as AdamW's do, so that its rates fit; spectral: by the shape alone,
    usually at an optimizer.muon.learning-rate of 0.02."""

    cost = OPTIMIZERS["muon"]

    def __post_init__(self) -> None:
        """Refuse values that no update can use."""
        require_kinds("optimizer.muon", self)
        require_share("optimizer.muon", self, "momentum")
        require_multiplier("optimizer.muon", self, "learning_rate")
        if self.learning_rate is None and self.scale == "spectral":
            raise ValueError(
                "optimizer.muon.scale is spectral, where optimizer.learning-rate does not fit; "
                "give optimizer.muon.learning-rate, usually 0.02"
            )

    def build(
        self, model: "nn.Module", config: "OptimizerConfig", *, dtype: "torch.dtype | None"
    ) -> "torch.optim.Optimizer":
        """Return Muon over the hidden matrices, AdamW over the rest, each with its own peak."""
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
    """SGD: steps against the gradient; it has no settings of its own."""

    cost = OPTIMIZERS["sgd"]
    ramp_exponent = 1.0  # Goyal et al. 2017, arXiv:1706.02677

    def build(
        self, model: "nn.Module", config: "OptimizerConfig", *, dtype: "torch.dtype | None"
    ) -> "torch.optim.Optimizer":
        """Return SGD over matrices, which decay, and vectors."""
        from optim import SGD, parameter_groups

        groups = parameter_groups(model, weight_decay=config.weight_decay)
        return SGD(groups, lr=config.learning_rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizers:
    """The registry: the section of each optimizer, under its name."""

    adamw: AdamWSection = AdamWSection()
    muon: MuonSection = MuonSection()
    sgd: SGDSection = SGDSection()


OPTIMIZER_NAMES = tuple(spec.name for spec in fields(Optimizers))
GRAPH_OPTIMIZERS = tuple(name for name in OPTIMIZER_NAMES if getattr(Optimizers(), name).fits_graph)
"""Those whose step a captured CUDA graph can hold."""
if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[OPTIMIZER_NAMES]


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig(Optimizers):
    """The parameter update."""

    name: OptimizerName = "adamw"
    """Which optimizer; the section of its name holds its own settings."""
    learning_rate: float
    """Peak learning rate; the schedule scales it."""
    weight_decay: float = 0.1
    """Decoupled decay of the matrices, per unit of learning rate; norm gains have none."""
    max_grad_norm: float | None = 1.0
    """Gradients are scaled down to this global norm; None: never."""

    def __post_init__(self) -> None:
        """Refuse values that no update can use."""
        require_kinds("optimizer", self)
        require_multiplier("optimizer", self, "learning_rate", "max_grad_norm")
        if not 0 <= self.weight_decay <= LARGEST:
            raise ValueError(
                f"optimizer.weight-decay is {self.weight_decay}, but must be in [0, {LARGEST:g}]"
            )

    @property
    def section(self) -> OptimizerSection:
        """The section of the optimizer that is named."""
        return getattr(self, self.name)

    def build(
        self, model: "nn.Module", *, dtype: "torch.dtype | None" = None
    ) -> "torch.optim.Optimizer":
        """Return the optimizer over the model's parameters.

        Args:
            model: what is trained.
            dtype: of products inside an update; all state stays in the weights' type. None: as the
                optimizer has it by default.
        """
        return self.section.build(model, self, dtype=dtype)
