"""Keep the keys and values of earlier tokens, so that decoding runs each token once."""

import torch
from jaxtyping import Float
from torch import Tensor

from nn_layers.config import ModelConfig
from nn_layers.initialization import Device, DType


class KVCache:
    """Room for `context_length` keys and values of every layer, filled from the front.

    Pass it to `TransformerLM.forward`, which appends to it. Device and type are those of the first
    keys if they are not given.
    """

    def __init__(
        self, config: ModelConfig, batch_size: int = 1, device: Device = None, dtype: DType = None
    ) -> None:
        self.capacity = config.context_length
        self._shape = (batch_size, config.kv_heads, config.context_length, config.d_head)
        self._device, self._dtype = device, dtype
        self._buffers: list[tuple[Tensor, Tensor] | None] = [None] * config.num_layers
        self.length = 0
        """Positions filled so far, in every layer."""

    def append(
        self, layer: int, keys: Float[Tensor, "b h t k"], values: Float[Tensor, "b h t k"]
    ) -> tuple[Float[Tensor, "b h s k"], Float[Tensor, "b h s k"]]:
        """Store one layer's new keys and values; return all of them, old and new.

        `length` moves once all layers have stored theirs, by `advance`.

        Raises:
            ValueError: another number of sequences than the cache has room for.
        """
        if len(keys) != self._shape[0]:
            raise ValueError(
                f"{len(keys)} sequences, but the cache has batch_size={self._shape[0]}"
            )
        if self._buffers[layer] is None:
            dtype, device = self._dtype or keys.dtype, self._device or keys.device
            room = torch.zeros(2, *self._shape, dtype=dtype, device=device)
            self._buffers[layer] = room[0], room[1]
        end = self.length + keys.shape[-2]
        all_keys, all_values = self.buffers(layer)
        all_keys[:, :, self.length : end], all_values[:, :, self.length : end] = keys, values
        return all_keys[:, :, :end], all_values[:, :, :end]

    def buffers(self, layer: int) -> tuple[Float[Tensor, "b h c k"], Float[Tensor, "b h c k"]]:
        """Return one layer's whole room for keys and for values.

        Raises:
            ValueError: nothing is stored yet, so there is no room.
        """
        buffers = self._buffers[layer]
        if buffers is None:
            raise ValueError(f"layer {layer} has no keys yet; let the model see a token first")
        return buffers

    def advance(self, num_tokens: int) -> None:
        """Count tokens that every layer has stored."""
        self.length += num_tokens
