"""Search for inputs that break a loader, or separate a kernel from its reference.

Stage: seeds -> *inputs* -> findings. `campaign` runs targets; each makes a batch of inputs from a
seed and checks the results. `encoding` and `training` compare kernels with plain code, `loaders`
and `trainer_loaders` read damaged files. Not here: single test cases.
"""
