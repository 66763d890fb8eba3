"""Optimize torch parameters with AdamW, Muon or SGD, with schedules and gradient clipping."""

from optim.adamw import AdamW
from optim.clipping import clip_gradients_
from optim.flat_adamw import FlatAdamW
from optim.muon import Muon
from optim.orthogonalization import orthogonalize
from optim.parameter_groups import muon_groups, parameter_groups
from optim.schedules import lr_cosine_schedule, lr_linear_schedule, lr_wsd_schedule
from optim.sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "FlatAdamW",
    "Muon",
    "clip_gradients_",
    "lr_cosine_schedule",
    "lr_linear_schedule",
    "lr_wsd_schedule",
    "muon_groups",
    "orthogonalize",
    "parameter_groups",
]
