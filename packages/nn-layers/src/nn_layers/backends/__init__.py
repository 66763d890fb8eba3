"""Compute attention and the loss: how, never what. One file per way, below `attention` and `loss`.

Stage: beside the textbook, whose formulas every backend must equal. `registry` lists the ways,
`interface` declares what each one provides, `choice` decides what `auto` takes.
"""
