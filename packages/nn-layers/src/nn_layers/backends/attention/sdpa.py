"""Attend by torch's own kernel, which keeps no scores."""

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from nn_layers.backends.attention.plain import causal_mask
from nn_layers.backends.interface import AttentionBackend, Setting


class Backend(AttentionBackend):
    """`torch.nn.functional.scaled_dot_product_attention`."""

    keeps = "sdpa"

    def rank(self, setting: Setting) -> int | None:
        """Come third; torch has it on every device."""
        return 3

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, *, past: int, bias: Tensor | None = None
    ) -> Tensor:
        """Return the heads."""
        if past == 0:
            return scaled_dot_product_attention(q, k, v, is_causal=True)
        return scaled_dot_product_attention(q, k, v, attn_mask=causal_mask(k, past))
