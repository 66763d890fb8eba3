"""Translate the names of parameters to this project's, and read or check a shape by them.

Stage: stored tensors -> *parameters, shape*. Known are the names of this project and the published
ones of Llama, Mistral, Qwen and GPT-2, inside any wrappers of torch. Names and dimensions do not
determine the width of a head (unless queries and keys have norms) or the context (unless positions
are learned).
"""

import math
import re
from collections.abc import Iterator, Mapping

from accounting.parameters import count_parameters, list_weights
from accounting.shape import AttentionBias, FeedForward, ModelShape, Norm
from accounting.sources.safetensors import StoredTensor

_WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_PREFIXES = {"model", "transformer"}
_OPTIMIZER = "optimizer."
_LAYER = re.compile(r"(?:layers|h)\.(0|[1-9][0-9]{0,8})\.(.+)")
_OUTSIDE = {
    "token_embeddings": ("embed_tokens", "wte"),
    "position_embeddings": ("wpe",),
    "ln_final": ("norm", "ln_f"),
    "lm_head": (),
}
_INSIDE = {
    "ln1": ("input_layernorm", "ln_1"),
    "ln2": ("post_attention_layernorm", "ln_2"),
    "attn.q_proj": ("self_attn.q_proj",),
    "attn.k_proj": ("self_attn.k_proj",),
    "attn.v_proj": ("self_attn.v_proj",),
    "attn.qkv_proj": ("attn.c_attn",),
    "attn.output_proj": ("self_attn.o_proj", "attn.c_proj"),
    "attn.q_norm": ("self_attn.q_norm",),
    "attn.k_norm": ("self_attn.k_norm",),
    "ffn.w1": ("mlp.gate_proj", "mlp.c_fc"),
    "ffn.w2": ("mlp.down_proj", "mlp.c_proj"),
    "ffn.w3": ("mlp.up_proj",),
    "ffn.w13": (),
}
_OWN_OUTSIDE, _OWN_INSIDE = (
    {spelling: own for own, others in table.items() for spelling in (own, *others)}
    for table in (_OUTSIDE, _INSIDE)
)
_TRANSPOSED = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
"""Matrices that GPT-2 publishes as input x output."""
_BUFFERS = ("rotary_emb.inv_freq", "attn.masked_bias", "attn.bias")
"""Saved with the parameters, but not learned: frequencies, and GPT-2's mask."""
_STACKS = {
    "attn.qkv_proj": ("attn.q_proj", "attn.k_proj", "attn.v_proj"),
    "ffn.w13": ("ffn.w1", "ffn.w3"),
}
_KNOWN = "known are those of this project, and of gpt2, llama, mistral, qwen2 and qwen3"


def name_parameters(tensors: Mapping[str, StoredTensor], *, origin: str) -> dict[str, StoredTensor]:
    """Return the parameters among the tensors, by this project's names.

    Raises:
        ValueError: a name is unknown, or two mean the same parameter.
    """
    found: dict[str, StoredTensor] = {}
    spelled: dict[str, str] = {}
    unknown = []
    for name, tensor in tensors.items():
        bare = _bare(name)
        if name.startswith(_OPTIMIZER) or _is_buffer(bare):
            continue
        own = own_name(bare)
        if own is None:
            unknown.append(name)
            continue
        if own in found:
            raise ValueError(f"{origin} holds {own} twice, as {spelled[own]} and as {name}")
        is_turned = own.endswith(".weight") and bare.removesuffix(".weight").endswith(_TRANSPOSED)
        shape = tensor.shape[::-1] if is_turned else tensor.shape
        found[own], spelled[own] = StoredTensor(tensor.dtype, shape), name
    if unknown or not found:
        which = f": {', '.join(unknown[:3])}{', ...' * (len(unknown) > 3)}" if unknown else ""
        raise ValueError(
            f"{origin} does not hold a language model with known names{which}; {_KNOWN}"
        )
    return found


def own_name(bare: str) -> str | None:
    """Return this project's name of a parameter; None if unknown.

    >>> own_name("layers.3.self_attn.o_proj.weight")
    'layers.3.attn.output_proj.weight'
    """
    module, _, kind = bare.rpartition(".")
    if kind not in ("weight", "bias"):
        return None
    match = _LAYER.fullmatch(module)
    own = (_OWN_INSIDE.get(match[2]) if match else _OWN_OUTSIDE.get(module)) or None
    if own is None:
        return None
    return f"layers.{match[1]}.{own}.{kind}" if match else f"{own}.{kind}"


def _bare(name: str) -> str:
    """Return a name without the parts that wrappers and enclosing modules add."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] in _PREFIXES:
        del parts[0]
    return ".".join(parts)


def _is_buffer(bare: str) -> bool:
    return any(bare == buffer or bare.endswith(f".{buffer}") for buffer in _BUFFERS)


def shape_from_parameters(
    parameters: Mapping[str, StoredTensor], *, origin: str, num_heads: int | None = None
) -> tuple[ModelShape, tuple[str, ...]]:
    """Return the shape, and the names of its fields that parameters cannot determine.

    Raises:
        ValueError: they are not a complete language model, or `num_heads` does not fit.
    """
    first = {name[9:]: tensor for name, tensor in parameters.items() if name[:9] == "layers.0."}
    named = {**parameters, **first}
    vocab_size, d_model = _matrix(named, "token_embeddings.weight", origin)
    d_q = _matrix(named, "attn.output_proj.weight", origin)[1]
    if "attn.qkv_proj.weight" in named:
        d_kv = (_matrix(named, "attn.qkv_proj.weight", origin)[0] - d_q) // 2
    else:
        d_kv = _matrix(named, "attn.k_proj.weight", origin)[0]
    d_head, is_guessed = _head_width(named, d_q, d_kv, num_heads)
    is_learned = "position_embeddings.weight" in named
    context = _matrix(named, "position_embeddings.weight", origin)[0] if is_learned else 1
    shape = ModelShape(
        vocab_size=vocab_size,
        context_length=context,
        d_model=d_model,
        num_layers=_num_layers(parameters),
        num_heads=d_q // d_head,
        num_kv_heads=d_kv // d_head,
        head_width=None if d_q == d_model else d_head,
        d_ff=_matrix(named, "ffn.w2.weight", origin)[1],
        feed_forward=_feed_forward(named),
        norm=_norm(named),
        position="learned" if is_learned else "none" if d_head % 2 else "rope",
        qk_norm="attn.q_norm.weight" in named,
        tie_embeddings="lm_head.weight" not in named,
        attention_bias=_attention_bias(named),
        feed_forward_bias="ffn.w2.bias" in named,
        norm_bias="ln1.bias" in named,
    )
    unknown = () if is_learned else ("context_length",)
    return shape, (*unknown, "num_heads") if is_guessed else unknown


def difference(shape: ModelShape, parameters: Mapping[str, StoredTensor]) -> str | None:
    """Return how parameters differ from what a shape has, in words; None: they do not."""
    num_layers = _num_layers(parameters)
    if num_layers != shape.num_layers:  # first: listing a billion layers would not end
        return f"the weights have {num_layers} layers, not {shape.num_layers}"
    expected = _as_stacked(dict(list_tensors(shape)), parameters)
    for name, dims in expected.items():
        if name not in parameters:
            return f"the weights lack {name}"
        if parameters[name].shape != dims:
            return f"{name} is {parameters[name].shape}, not {dims}"
    surplus = next((name for name in parameters if name not in expected), None)
    return None if surplus is None else f"the weights have {surplus} as well"


def list_tensors(shape: ModelShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and dimensions of every parameter, biases and learned positions included."""
    if shape.position == "learned":
        yield "position_embeddings.weight", (shape.context_length, shape.d_model)
    for weight in list_weights(shape):
        yield f"{weight.name}.weight", weight.shape
        module = weight.name.rpartition(".")[2]
        if _has_bias(shape, module):
            yield f"{weight.name}.bias", weight.shape[:1]


def _has_bias(shape: ModelShape, module: str) -> bool:
    if module in ("q_proj", "k_proj", "v_proj"):
        return shape.attention_bias != "none"
    if module == "output_proj":
        return shape.attention_bias == "all"
    if module in ("w1", "w2", "w3"):
        return shape.feed_forward_bias
    return shape.norm_bias and module in ("ln1", "ln2", "ln_final")


def describe_difference(
    shape: ModelShape, parameters: Mapping[str, StoredTensor], *, weights: str, other: str
) -> str | None:
    """Return a clause with both names, both counts and the first difference; None if equal.

    `weights` and `other` name the parameters and the source of the shape.
    """
    found = difference(shape, parameters)
    if found is None:
        return None
    ours = sum(tensor.count for tensor in parameters.values())
    theirs = count_parameters(shape).total
    return (
        f"{weights} holds {ours:,} parameters, but {other} describes a model of {theirs:,}: {found}"
    )


def _as_stacked(
    expected: dict[str, tuple[int, ...]], parameters: Mapping[str, StoredTensor]
) -> dict[str, tuple[int, ...]]:
    """Stack the matrices that the parameters hold stacked."""
    for name in parameters:
        module, _, kind = name.rpartition(".")
        for stack, parts in _STACKS.items():
            if not module.endswith(f".{stack}"):
                continue
            names = [f"{module.removesuffix(stack)}{part}.{kind}" for part in parts]
            if all(part in expected for part in names):
                dims = [expected.pop(part) for part in names]
                expected[name] = (sum(one[0] for one in dims), *dims[0][1:])
    return expected


def _num_layers(names: Mapping[str, object]) -> int:
    return len({name.split(".")[1] for name in names if name.startswith("layers.")})


def _matrix(named: Mapping[str, StoredTensor], name: str, origin: str) -> tuple[int, int]:
    if name not in named:
        raise ValueError(f"{origin} has no {name} (in layer 0), which a language model needs")
    if len(named[name].shape) != 2:
        raise ValueError(f"{origin}: {name} is {named[name].shape}, but must be a matrix")
    return named[name].shape[0], named[name].shape[1]


def _head_width(
    named: Mapping[str, StoredTensor], d_q: int, d_kv: int, num_heads: int | None
) -> tuple[int, bool]:
    """Return the width of a head, and whether it is a guess that fits all widths."""
    if "attn.q_norm.weight" in named:
        return math.prod(named["attn.q_norm.weight"].shape), False
    if num_heads is not None:
        return max(d_q // max(num_heads, 1), 1), False
    return math.gcd(d_q, d_kv), True


def _feed_forward(named: Mapping[str, StoredTensor]) -> FeedForward:
    if "ffn.w3.weight" in named or "ffn.w13.weight" in named:
        return "swiglu"
    return "gelu" if "position_embeddings.weight" in named else "silu"


def _norm(named: Mapping[str, StoredTensor]) -> Norm:
    if "ln_final.weight" in named:
        return "pre"
    return "post" if "ln1.weight" in named else "none"


def _attention_bias(named: Mapping[str, StoredTensor]) -> AttentionBias:
    if "attn.output_proj.bias" in named:
        return "all"
    return "qkv" if {"attn.q_proj.bias", "attn.qkv_proj.bias"} & named.keys() else "none"
