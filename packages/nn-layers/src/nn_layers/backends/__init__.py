"""Compute attention and the loss: how, never what. One file per way, below `attention` and `loss`.

Stage: beside the textbook, whose formulas every backend must equal. `registry` lists the ways,
`interface` says what each one declares, `choice` decides what `auto` takes. `cpu` and `triton` hold
the kernels.
"""
