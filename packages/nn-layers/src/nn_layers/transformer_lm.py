"""Turn token ids into logits: embed, transform, norm, project to the vocabulary.

Stage: ids -> *logits* -> loss or samples. State-dict names are CS336's; a tied matrix is stored
once, as token_embeddings.weight.
"""

from collections.abc import Callable
from typing import Any, Unpack, overload

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nn_layers.block import TransformerBlock, find_wiring
from nn_layers.config import ModelConfig
from nn_layers.embedding import Embedding
from nn_layers.initialization import Place, linear_std, truncated_normal_
from nn_layers.kv_cache import KVCache
from nn_layers.linear import Linear
from nn_layers.positions import build_positions
from nn_layers.rms_norm import RMSNorm
from nn_layers.state_dict import strip_wrappers


class TransformerLM(nn.Module):
    """A decoder-only Transformer over token ids, built from a configuration or CS336's sizes.

    >>> model = TransformerLM(ModelConfig(10, 8, 16, 2, 2, 32))
    >>> model(torch.zeros(3, 5, dtype=torch.int64)).shape
    torch.Size([3, 5, 10])
    >>> TransformerLM(10, 8, 16, 2, 2, 32, 10_000.0).config == model.config
    True
    """

    __call__: Callable[..., Tensor]

    @overload
    def __init__(self, config: ModelConfig, **place: Unpack[Place]) -> None: ...
    @overload
    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int,
        rope_theta: float = ...,
        **place: Unpack[Place],
    ) -> None: ...
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__()
        is_configured = "config" in named or isinstance(next(iter(arguments), None), ModelConfig)
        (self._build if is_configured else self._build_from_sizes)(*arguments, **named)

    def _build_from_sizes(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int,
        rope_theta: float = ModelConfig.rope_theta,
        **place: Unpack[Place],
    ) -> None:
        sizes = (vocab_size, context_length, d_model, num_layers, num_heads, d_ff)
        self._build(ModelConfig(*sizes, rope_theta=rope_theta), **place)

    def _build(self, config: ModelConfig, **place: Unpack[Place]) -> None:
        _let_einops_know_tensors()
        self.register_load_state_dict_pre_hook(strip_wrappers)
        self.config = config
        self.activation_checkpointing = False
        """Whether to keep only each block's input for backward, and compute the rest again."""
        self.token_embeddings = Embedding(config.vocab_size, config.d_model, **place)
        self.positions = build_positions(config, device=place.get("device"))
        self.layers = nn.ModuleList(
            TransformerBlock(config, self.positions, **place) for _ in range(config.num_layers)
        )
        has_final_norm = find_wiring(config.norm).has_final_norm
        self.ln_final = RMSNorm(config.d_model, **place) if has_final_norm else None
        if config.tie_embeddings:
            # One matrix, two uses: at the embedding's variance 1 the first logits would be huge.
            std = linear_std(config.d_model, config.vocab_size)
            truncated_normal_(self.token_embeddings.weight, std=std)
            self.lm_head = None
        else:
            self.lm_head = Linear(config.d_model, config.vocab_size, **place)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, a tied matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self, token_ids: Int[Tensor, "... t"], *, cache: KVCache | None = None
    ) -> Float[Tensor, "... t v"]:
        """Return the logits of each next token; position i has seen ids 0 .. i and nothing later.

        Args:
            token_ids: (..., t) ids in [0, v); (b, t) with a cache, whose tokens they continue.
            cache: keys and values of earlier tokens, extended in place.

        Raises:
            ValueError: more positions than the context holds.
            IndexError: an id outside the vocabulary.
        """
        return self.hidden_states(token_ids, cache=cache) @ self.head_weight.T

    @property
    def head_weight(self) -> Float[Tensor, "v d"]:
        """The matrix that turns hidden states into logits."""
        return self.token_embeddings.weight if self.lm_head is None else self.lm_head.weight

    def hidden_states(
        self, token_ids: Int[Tensor, "... t"], *, cache: KVCache | None = None
    ) -> Float[Tensor, "... t d"]:
        """Return what the head reads: `forward` without the last product."""
        past = 0 if cache is None else cache.length
        length = token_ids.shape[-1]
        if past + length > self.config.context_length:
            raise ValueError(
                f"{past + length} positions, but the context holds {self.config.context_length}; "
                "give fewer tokens"
            )
        x = self.positions.embed(self.token_embeddings(token_ids), first=past)
        for index, block in enumerate(self.layers):
            if self.activation_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, cache=cache, layer=index, use_reentrant=False)
            else:
                x = block(x, cache=cache, layer=index)
        if cache is not None:
            cache.advance(length)
        return x if self.ln_final is None else self.ln_final(x)


def _let_einops_know_tensors() -> None:
    """Have einops look up what tensors are: torch.compile cannot, within a checkpointed block."""
    plain = torch.empty(1, dtype=torch.float32, device="cpu")
    for tensor in (plain, nn.Parameter(plain)):
        rearrange(tensor, "n -> n")
