"""The plain twin of attention's kernels, and how they are held to it."""

import torch

from nn_layers import RotaryPositionalEmbedding, rotary_attention, scaled_dot_product_attention

ROUNDING = {torch.float32: 8e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def plain_attention(qkv, num_heads, num_kv_heads, rope):
    """Rotate and attend by the written-out formulas, from stacked projections."""
    width = qkv.shape[-1] // (num_heads + 2 * num_kv_heads)
    heads = qkv.unflatten(-1, (-1, width)).transpose(1, 2)
    q, k, v = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    length = qkv.shape[1]
    if rope is not None:
        q, k = rope(q, torch.arange(length)), rope(k, torch.arange(length))
    k, v = (x.repeat_interleave(num_heads // num_kv_heads, dim=1) for x in (k, v))
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    return scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


def compare_attention(
    *, batch=1, length, num_heads=1, num_kv_heads=1, width=16, layout=None, dtype, seed=0
):
    """Hold `rotary_attention` to its twin in float64: values and gradients, up to rounding."""
    torch.manual_seed(seed)
    columns = (num_heads + 2 * num_kv_heads) * width
    qkv = torch.randn(batch, length, columns).to(dtype).requires_grad_()
    wide = qkv.detach().double().requires_grad_()
    rope = layout and RotaryPositionalEmbedding(100.0, width, length + 3, layout=layout)
    ours = rotary_attention(
        qkv,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        tables=rope.float32_tables() if rope else None,
        layout=layout or "half",
    )
    plain = plain_attention(wide, num_heads, num_kv_heads, rope)
    weights = torch.randn_like(plain).to(dtype)
    ours.backward(weights)
    plain.backward(weights.double())
    rounding = {"rtol": ROUNDING[dtype], "atol": ROUNDING[dtype]}
    assert ours.dtype == qkv.grad.dtype == dtype
    torch.testing.assert_close(ours.double(), plain, **rounding)
    torch.testing.assert_close(qkv.grad.double(), wide.grad, **rounding)
