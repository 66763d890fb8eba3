"""AdamW, SGD, learning-rate schedules and gradient clipping on torch tensors."""

from optim.adamw import AdamW
from optim.clipping import clip_gradients_
from optim.parameter_groups import parameter_groups
from optim.schedules import lr_cosine_schedule, lr_linear_schedule, lr_wsd_schedule
from optim.sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "clip_gradients_",
    "lr_cosine_schedule",
    "lr_linear_schedule",
    "lr_wsd_schedule",
    "parameter_groups",
]
