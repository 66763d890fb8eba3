"""Turn gradients into better parameters: optimizers, learning-rate schedules, clipping.

Stage: model -> loss -> *optimizer* -> checkpoint. Read `reference` first: it is AdamW line by line.
"""

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
