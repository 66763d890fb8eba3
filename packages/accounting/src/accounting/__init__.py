"""Parameters and FLOPs of a Transformer language model, before it runs."""

from accounting.flops import Flops, forward_flops, training_flops
from accounting.hardware import model_flops_utilization, peak_flops_per_second
from accounting.parameters import Parameters, count_parameters
from accounting.presets import PRESETS
from accounting.shape import ModelShape

__all__ = [
    "PRESETS",
    "Flops",
    "ModelShape",
    "Parameters",
    "count_parameters",
    "forward_flops",
    "model_flops_utilization",
    "peak_flops_per_second",
    "training_flops",
]
