"""Compute attention and the loss: how, never what.

Stage: beside the textbook, whose formulas every backend must equal. `attention` and `loss` hold one
file per way, `registry` lists the ways,
`interface` declares what each one provides, `choice` decides what `auto` takes.
"""
