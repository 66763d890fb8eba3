"""Refuse operands and derivatives that an operation of ours would get wrong silently.

Stage: inside losses and attention. Torch takes the result of a custom backward for a constant, an
operation without forward mode for one that does not depend on its operands, and one operand
without memory (meta) as a sign that the result needs none.
"""

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual


def check_operands(name: str, *operands: Tensor, plain: str) -> None:
    """Insist on operands of one device, without tangents; call it before the operation `name`.

    Raises:
        ValueError: they are on several devices.
        NotImplementedError: a tensor has a tangent, as under `torch.func.jvp`; use `plain`.
    """
    if torch.compiler.is_compiling():  # which has checks of its own
        return
    devices = list(dict.fromkeys(str(one.device) for one in operands))
    if len(devices) > 1:
        raise ValueError(
            f"{name} was given tensors on {' and '.join(devices)}, but needs all on one device; "
            "move them"
        )
    if any(unpack_dual(one).tangent is not None for one in operands):
        raise NotImplementedError(
            f"{name} has no forward-mode derivative, but an input has a tangent; use {plain}"
        )


def refuse_second_derivative(name: str, *, plain: str) -> None:
    """Refuse `create_graph=True`; call it in the backward of `name`. `plain` can do it."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise NotImplementedError(
            f"{name} has no second derivative, but create_graph=True asks for it; use {plain}"
        )
