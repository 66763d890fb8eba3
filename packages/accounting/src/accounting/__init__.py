"""Predict what a Transformer language model costs: parameters, FLOPs, memory, time."""

from accounting.flops import Flops, backward_flops, forward_flops, training_flops
from accounting.hardware import model_flops_utilization, peak_flops_per_second
from accounting.memory import Memory, evaluation_bytes, largest_batch, memory
from accounting.parameters import Parameters, count_parameters
from accounting.presets import PRESETS
from accounting.shape import ModelShape
from accounting.step import StepSettings

__all__ = [
    "PRESETS",
    "Flops",
    "Memory",
    "ModelShape",
    "Parameters",
    "StepSettings",
    "backward_flops",
    "count_parameters",
    "evaluation_bytes",
    "forward_flops",
    "largest_batch",
    "memory",
    "model_flops_utilization",
    "peak_flops_per_second",
    "training_flops",
]
