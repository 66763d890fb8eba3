"""Attend causally from stacked projections in one kernel, rotation included.

Stage: queries, keys and values in one tensor -> *heads*. The kernel is Triton's on CUDA and
compiled C++ on the CPU; here both are registered with torch as one operation, for autograd and
torch.compile. The plain twin is `attention.scaled_dot_product_attention` after the rotation. Not
here: masks, caches, dropout.
"""

import os
from types import ModuleType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nn_layers.backends.cpu import attention as cpu_attention
from nn_layers.backends.cpu.kernels import why_no_native_kernels
from nn_layers.backends.operands import check_operands
from nn_layers.backends.projections import Projections, stack_projections
from nn_layers.backends.triton.availability import require_kernels, why_no_kernels
from nn_layers.positions import RotaryPositionalEmbedding

WIDTHS = (16, 32, 64, 128)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_ROTATIONS: dict[str, int] = {"none": 0, "adjacent": 1, "half": 2}
# Triton, too, reads this once, when it is first imported.
_IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def kernel_of(device: torch.device) -> Literal["native", "triton"]:
    """Return which of the kernels `rotary_attention` runs on a device.

    >>> kernel_of(torch.device("cuda"))
    'triton'
    """
    return "native" if device.type == "cpu" and not _IS_INTERPRETED else "triton"


def why_no_rotary_attention(device: torch.device, *, width: int, dtype: torch.dtype) -> str | None:
    """Return why `rotary_attention` cannot run with heads of a width, or None if it can."""
    if width not in WIDTHS:
        return f"the attention kernel supports head widths {WIDTHS}, and this is {width}"
    if kernel_of(device) == "native":
        return why_no_native_kernels(dtype)
    if dtype not in DTYPES:
        return f"the attention kernel supports {DTYPES}, and this is {dtype}"
    return why_no_kernels(device)


def rotary_attention(
    qkv: Float[Tensor, "... t d"],
    *,
    num_heads: int,
    num_kv_heads: int,
    tables: tuple[Float[Tensor, "s j"], Float[Tensor, "s j"]] | None,
    layout: Literal["adjacent", "half"] = "adjacent",
) -> Float[Tensor, "... t c"]:
    """Return causal attention of queries and keys turned by their positions 0 .. t - 1.

    Rotation, scores and softmax are float32 inside; products take their factors in the type of
    `qkv`, as the plain path does under autocast.

    Args:
        qkv: (..., t, (h + 2 g) k); queries, keys and values side by side, heads in order.
        num_heads: query heads h.
        num_kv_heads: key heads g; divides h.
        tables: cosines and sines, (s, k / 2) float32 with s >= t; None: no rotation.
        layout: which dimensions pair up; see `RotaryPositionalEmbedding`.

    Returns:
        (..., t, h k) in the type of `qkv`.

    Raises:
        ValueError: heads that do not divide the width, a width without a kernel, short tables,
            tables on another device, or tables that are trained: they get no gradient.
        NativeError: the CPU cannot run the kernel, see `why_no_rotary_attention`.
        NotImplementedError: an input has a tangent.
    """
    width = _width(qkv, num_heads, num_kv_heads)
    if tables is None:
        cos = sin = qkv.new_empty(0, dtype=torch.float32)
    else:
        cos, sin = tables
        _check_tables(cos, sin, length=qkv.shape[-2], width=width)
    check_operands("rotary_attention", qkv, cos, sin, plain="attention='plain'")
    rotation = _ROTATIONS["none" if tables is None else layout]
    flat = qkv.reshape(-1, *qkv.shape[-2:])
    heads, _ = _attend(flat, cos, sin, num_heads, num_kv_heads, rotation)
    return heads.view(*qkv.shape[:-1], num_heads * width)


def attend_layer(
    layer: Projections, x: Float[Tensor, "... t d"], *, kernel: Literal["native", "triton"]
) -> Float[Tensor, "... t c"]:
    """Return the heads of a layer: project by one product, then rotate and attend in one kernel.

    Raises:
        ValueError: `kernel` is not the kernel of the device of `x`.
    """
    if kernel != (own := kernel_of(x.device)):
        raise ValueError(
            f"attention is {kernel}, but the kernel of {x.device} is {own}; use that, or another "
            "backend"
        )
    positions = layer.positions
    is_rotary = isinstance(positions, RotaryPositionalEmbedding)
    return rotary_attention(
        stack_projections(layer, x),
        num_heads=layer.num_heads,
        num_kv_heads=layer.num_kv_heads,
        tables=positions.float32_tables() if is_rotary else None,
        layout=positions.layout if is_rotary else "adjacent",
    )


@torch.library.custom_op("nn_layers::rotary_attention", mutates_args=())
def _attend(
    qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, key_heads: int, rotation: int
) -> tuple[Tensor, Tensor]:
    _width(qkv, heads, key_heads)
    return _kernel(qkv.device).run_forward(qkv, cos, sin, heads, key_heads, rotation)


@_attend.register_fake
def _(
    qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, key_heads: int, rotation: int
) -> tuple[Tensor, Tensor]:
    batch, length, _ = qkv.shape
    out = qkv.new_empty(batch, length, heads * _width(qkv, heads, key_heads))
    return out, qkv.new_empty(batch, heads, length, dtype=torch.float32)


@torch.library.custom_op("nn_layers::rotary_attention_backward", mutates_args=())
def _attend_backward(
    d_out: Tensor,
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    out: Tensor,
    log_totals: Tensor,
    heads: int,
    key_heads: int,
    rotation: int,
) -> Tensor:
    _width(qkv, heads, key_heads)
    saved = (qkv, cos, sin, out, log_totals)
    return _kernel(qkv.device).run_backward(d_out, *saved, heads, key_heads, rotation)


@_attend_backward.register_fake
def _(d_out: Tensor, qkv: Tensor, *_: object) -> Tensor:
    return qkv.new_empty(qkv.shape)


def _save(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    qkv, cos, sin, *ctx.rest = inputs
    ctx.save_for_backward(qkv, cos, sin, *output)


def _differentiate(ctx: Any, d_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    d_qkv = _attend_backward(d_out, *ctx.saved_tensors, *ctx.rest)
    return d_qkv, None, None, None, None, None


_attend.register_autograd(_differentiate, setup_context=_save)


def _width(qkv: Tensor, heads: int, key_heads: int) -> int:
    """Return the width of a head, having checked that the kernels support these heads."""
    has_heads = key_heads > 0 and heads > 0 and heads % key_heads == 0
    width, rest = divmod(qkv.shape[-1], heads + 2 * key_heads) if has_heads else (0, 0)
    if rest or width not in WIDTHS:
        raise ValueError(
            f"{qkv.shape[-1]} columns are not {heads} query and 2 x {key_heads} key and "
            f"value heads of one of the widths {WIDTHS}; use another attention path"
        )
    return width


def _check_tables(cos: Tensor, sin: Tensor, *, length: int, width: int) -> None:
    for table in (cos, sin):
        if len(table) < length or table.shape[1] != width // 2:
            raise ValueError(
                f"rotary tables of shape {tuple(table.shape)} do not fit {length} positions "
                f"of heads {width} wide; build them for this model"
            )
        if table.requires_grad:
            raise ValueError(
                "rotary tables require a gradient, but the kernel gives them none; detach them, or "
                "use another attention path"
            )


def _kernel(device: torch.device) -> ModuleType:
    """Return the face of the kernel that runs on a device."""
    if kernel_of(device) == "native":
        return cpu_attention
    require_kernels(device)
    from nn_layers.backends.triton import attention as triton_attention

    return triton_attention
