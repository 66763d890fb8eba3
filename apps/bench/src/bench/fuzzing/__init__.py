"""Which inputs could break a loader or part a kernel from its reference?

Stage: seeds -> *inputs* -> findings. `campaign` runs targets, each of which makes a batch of inputs
from a seed and holds what comes out against what must: `encoding` and `training` compare kernels
with plain code, `loaders` and `trainer_loaders` read damaged files. Not here: the command (`fuzz`).
"""
