"""Weights: their own numbers or a refusal, whatever lies beside them."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting import ModelShape, count_parameters
from accounting.cli import commands as cli
from accounting.sources.inputs import read_model
from accounting.sources.tensor_names import list_tensors

WIDTHS = {"F64": 8, "F32": 4, "BF16": 2, "F8_E4M3": 1}
SMALL = ModelShape(vocab_size=40, context_length=16, d_model=8, num_layers=2, num_heads=2, d_ff=12)
LLAMA = {
    "model_type": "llama",
    "vocab_size": 40,
    "max_position_embeddings": 16,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}
HUGE = LLAMA | {"vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 16}
Tensors = Mapping[str, tuple[int, ...]]


def write(path: Path, tensors: Tensors, *, dtype: str = "F32", missing: int = 0) -> None:
    """Write a file of zeros, which take no disk; `missing` bytes fewer than it says."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, dims in tensors.items():
        start, end = end, end + WIDTHS[dtype] * torch.Size(dims).numel()
        header[name] = {"dtype": dtype, "shape": dims, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end - missing)


def tensors_of(shape: ModelShape = SMALL) -> dict[str, tuple[int, ...]]:
    return dict(list_tensors(shape))


def write_set(folder: Path, tensors: Tensors, *, count: int = 3, **changes: object) -> Path:
    """Write shards and their index; `changes` replace what the index says."""
    names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    places = {name: names[i % count] for i, name in enumerate(tensors)}
    for shard in names:
        write(folder / shard, {name: tensors[name] for name in tensors if places[name] == shard})
    total = 4 * sum(torch.Size(dims).numel() for dims in tensors.values())
    document = {"metadata": {"total_size": total}, "weight_map": places} | changes
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps(document))
    return index


def numbers(source: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    cli.params([str(source), "--json"])
    (section,) = json.loads(capsys.readouterr().out).values()
    return section


HF_NAMES = [
    (r"^(?!lm_head)", "model."),
    ("token_embeddings", "embed_tokens"),
    ("ln_final", "norm"),
    ("attn.output_proj", "attn.o_proj"),
    ("attn", "self_attn"),
    ("ffn.w1", "mlp.gate_proj"),
    ("ffn.w2", "mlp.down_proj"),
    ("ffn.w3", "mlp.up_proj"),
    ("ln1", "input_layernorm"),
    ("ln2", "post_attention_layernorm"),
]


def spelled(tensors: Tensors, how: str) -> dict[str, tuple[int, ...]]:
    """Spell parameters as somebody else saves them."""
    rules = {
        "own": [],
        "hugging face": HF_NAMES,
        "compiled": [("^", "_orig_mod.")],
        "distributed": [("^", "module.")],
        "compiled blocks": [(r"(layers\.\d+)", r"\1._orig_mod")],
    }
    found = {}
    for name, dims in tensors.items():
        for old, new in rules[how]:
            name = re.sub(old, new, name)
        found[name] = dims
    return found


shapes = st.builds(
    lambda heads, group, width, **rest: ModelShape(
        num_heads=heads * group, num_kv_heads=heads, d_model=2 * heads * group * width, **rest
    ),
    heads=st.integers(1, 3),
    group=st.integers(1, 2),
    width=st.integers(1, 3),
    vocab_size=st.integers(1, 70),
    context_length=st.integers(1, 9),
    num_layers=st.integers(1, 12),
    d_ff=st.integers(1, 20),
    feed_forward=st.sampled_from(["swiglu", "silu"]),
    norm=st.sampled_from(["pre", "post", "none"]),
    qk_norm=st.booleans(),
    tie_embeddings=st.booleans(),
    attention_bias=st.sampled_from(["none", "qkv", "all"]),
    feed_forward_bias=st.booleans(),
)


@given(
    shape=shapes,
    how=st.sampled_from(["own", "hugging face", "compiled", "distributed", "compiled blocks"]),
    dtype=st.sampled_from(list(WIDTHS)),
    count=st.integers(0, 4),
)
@settings(max_examples=60)
def test_weights_have_the_parameters_and_the_bytes_that_they_hold(
    shape: ModelShape, how: str, dtype: str, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("weights")
    tensors = spelled(tensors_of(shape), how)
    if count:
        path = write_set(folder, tensors, count=min(count, len(tensors)))
        dtype = "F32"
    else:
        path = folder / "any.safetensors"
        write(path, tensors, dtype=dtype)
    model = read_model(str(path))
    total = sum(torch.Size(dims).numel() for dims in tensors.values())
    assert model.weights.num_parameters == total == count_parameters(shape).total
    assert model.weights.num_bytes == WIDTHS[dtype] * total
    assert count_parameters(model.shape).total == total
    known = {"context_length": shape.context_length, "num_heads": shape.num_heads}
    whole = read_model(str(folder), **known, num_kv_heads=shape.num_kv_heads)
    assert dataclasses.replace(whole.shape, position="rope") == shape


@given(shape=shapes, data=st.data())
@settings(max_examples=40)
def test_a_tensor_too_few_too_many_or_of_other_size_is_not_overlooked(
    shape: ModelShape, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("weights") / "a.safetensors"
    tensors = tensors_of(shape)
    name = data.draw(st.sampled_from(list(tensors)))
    change = data.draw(st.sampled_from(["drop", "widen", "add"]))
    if change == "drop":
        del tensors[name]
    elif change == "widen":
        tensors[name] = (tensors[name][0] + 1, *tensors[name][1:])
    else:
        tensors[f"layers.{shape.num_layers + 1}.ln1.weight"] = (shape.d_model,)
    write(path, tensors)
    total = sum(torch.Size(dims).numel() for dims in tensors.values())
    try:
        model = read_model(str(path))
    except ValueError as error:
        assert str(path) in str(error)
    else:  # still a model, another one, with its own numbers
        assert count_parameters(model.shape).total == model.weights.num_parameters == total


def test_a_foreign_configuration_does_not_change_a_files_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.safetensors"
    write(path, tensors_of())
    (tmp_path / "config.json").write_text(json.dumps(HUGE))
    own = sum(torch.Size(dims).numel() for dims in tensors_of().values())
    found = numbers(path, capsys)
    assert (found["total"], found["as stored"]) == (own, 4 * own)
    foreign = count_parameters(read_model(str(tmp_path / "config.json")).shape).total
    for command, source in (
        (cli.flops, path),
        (cli.memory, path),
        (cli.inference, path),
        (cli.plan, path),
        (cli.params, tmp_path),
    ):
        with pytest.raises(SystemExit) as caught:
            command([str(source)])
        error = capsys.readouterr().err
        assert caught.value.code == 2
        assert len(error.splitlines()) == 1
        for words in (f"{own:,}", f"{foreign:,}", str(path), str(tmp_path / "config.json")):
            assert words in error


def test_what_a_foreign_configuration_does_not_say_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, tensors_of())
    (tmp_path / "config.json").write_text(json.dumps(HUGE))
    model = read_model(str(path), context_length=16, num_heads=2)
    shape = model.require("context_length", "num_heads")
    assert dataclasses.replace(shape, num_kv_heads=None) == SMALL


@pytest.mark.parametrize("how", ["own", "hugging face"])
def test_a_configuration_that_fits_completes_weights(how: str, tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", spelled(tensors_of(), how))
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    for source in (tmp_path, tmp_path / "model.safetensors"):
        shape = read_model(str(source)).require("context_length", "num_heads")
        assert shape == dataclasses.replace(SMALL, rope_layout="half")


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_tie_that_only_the_configuration_has_is_a_disagreement(
    is_tied: bool, tmp_path: Path
) -> None:
    write(tmp_path / "model.safetensors", tensors_of())
    config = LLAMA | {"tie_word_embeddings": is_tied}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if is_tied:
        with pytest.raises(ValueError, match=r"have lm_head\.weight as well"):
            read_model(str(tmp_path))
    else:
        assert not read_model(str(tmp_path)).shape.tie_embeddings


@pytest.mark.parametrize("changed", [{"d_model": 16}, {"tie_embeddings": True}, {"num_layers": 3}])
def test_options_do_not_make_another_model_of_weights(
    changed: dict[str, object], tmp_path: Path
) -> None:
    write(tmp_path / "a.safetensors", tensors_of())
    with pytest.raises(ValueError, match="but the given shape describes"):
        read_model(str(tmp_path / "a.safetensors"), **changed)


def test_gpt2s_own_names_are_read_with_masks_left_out(tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024}
    config |= {"n_embd": 768, "n_layer": 12, "n_head": 12}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {"wte.weight": (50257, 768), "wpe.weight": (1024, 768)}
    tensors |= {"ln_f.weight": (768,), "ln_f.bias": (768,)}
    block = {"attn.c_attn": (768, 2304), "attn.c_proj": (768, 768), "mlp.c_fc": (768, 3072)}
    block |= {"mlp.c_proj": (3072, 768), "ln_1": (768,), "ln_2": (768,)}
    for layer in range(12):
        for name, dims in block.items():
            tensors[f"h.{layer}.{name}.weight"] = dims
            tensors[f"h.{layer}.{name}.bias"] = dims[-1:]
        tensors[f"h.{layer}.attn.bias"] = (1, 1, 1024, 1024)
    write(tmp_path / "model.safetensors", tensors)
    for source in (tmp_path, tmp_path / "model.safetensors"):
        model = read_model(str(source))
        assert model.weights.num_parameters == count_parameters(model.shape).total == 124_439_808
    (tmp_path / "config.json").unlink()
    model = read_model(str(tmp_path))
    assert model.unknown == ("num_heads",)
    assert count_parameters(model.shape).total == 124_439_808


@pytest.mark.parametrize("named", ["index", "shard", "folder"])
def test_one_shard_stands_for_its_whole_set(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = write_set(tmp_path, tensors_of())
    shard = tmp_path / "model-00002-of-00003.safetensors"
    found = numbers({"index": index, "shard": shard, "folder": tmp_path}[named], capsys)
    assert found["total"] == count_parameters(SMALL).total
    assert found["as stored"] == 4 * found["total"]


SECOND = "model-00002-of-00003.safetensors"
EMBEDDING = "token_embeddings.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / SECOND).unlink(), f"lists {SECOND}, which are missing"),
        (lambda f: (f / "model.safetensors.index.json").unlink(), "is one of 3 shards, but no"),
        (
            lambda f: (f / SECOND).write_bytes((f / SECOND).read_bytes()[:-1]),
            f"{SECOND} is not a whole safetensors file",
        ),
        (lambda f: write(f / SECOND, {}), f"{SECOND} lacks "),
        (lambda f: write(f / SECOND, {EMBEDDING: (40, 8)}), f"{SECOND} holds {EMBEDDING}, but"),
        (lambda f: write(f / SECOND, {"new.weight": (1,)}), "but .* places it in no shard"),
        (lambda f: write_set(f, tensors_of(), metadata={"total_size": 7}), "total_size of 7 bytes"),
        (lambda f: write_set(f, tensors_of(), weight_map={}), "places a tensor in ''"),
        (lambda f: write_set(f, tensors_of(), weight_map=[]), "is not an index"),
        (lambda f: write_set(f, tensors_of(), weight_map={"a": [1]}), "is not an index"),
        (lambda f: write_set(f, tensors_of(), weight_map={"a": 1}), "places a tensor in 1"),
        (lambda f: write_set(f, tensors_of(), metadata=[1]), "is not an index"),
        (
            lambda f: write_set(f, tensors_of(), weight_map={"a": "../b.safetensors"}),
            "beside it",
        ),
        (
            lambda f: write_set(f, tensors_of(), weight_map=dict.fromkeys(tensors_of(), SECOND)),
            "lists 1 shards of a set of 3",
        ),
        (lambda f: (f / "model.safetensors.index.json").write_text("[" * 10**5), "is not an index"),
        (lambda f: write(f / "model.safetensors", tensors_of()), "more than one model"),
    ],
)
def test_an_incomplete_or_contradictory_set_is_refused(
    damage: object, message: str, tmp_path: Path
) -> None:
    write_set(tmp_path, tensors_of())
    damage(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    source = tmp_path if "more than" in message else tmp_path / "model-00001-of-00003.safetensors"
    if "lists 1" in message or "places" in message or "beside it" in message:
        source = tmp_path / "model.safetensors.index.json"
    with pytest.raises(ValueError, match=message):
        read_model(str(source))


def test_an_index_with_a_tensor_twice_is_refused(tmp_path: Path) -> None:
    index = write_set(tmp_path, tensors_of())
    index.write_text(
        index.read_text().replace('"weight_map": {', f'"weight_map": {{"{EMBEDDING}": "x", ')
    )
    with pytest.raises(ValueError, match="is repeated"):
        read_model(str(index))


def header(text: str, content: bytes = b"") -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode() + content


ENTRY = '"dtype":"F32","shape":[2],"data_offsets":[0,8]'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(f'{{"a":{{{ENTRY}}}}}', bytes(7)), "not a whole"),
        (header(f'{{"a":{{{ENTRY}}}}}', bytes(9)), "not a whole"),
        (header(f'{{"a":{{{ENTRY}}},"b":{{{ENTRY}}}}}', bytes(8)), "b is at bytes 0 to 8"),
        (header(f'{{"a":{{{ENTRY}}},"a":{{{ENTRY}}}}}', bytes(8)), "'a' is repeated"),
        (header('{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', bytes(8)), "not a whole"),
        (header('{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}', bytes(8)), "'F33'"),
        (header('{"a":{"dtype":[],"shape":[2],"data_offsets":[0,8]}}', bytes(8)), "unhashable"),
        (
            header('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', bytes(4)),
            "is not a number",
        ),
        (
            header('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)),
            "is not a number",
        ),
        (header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}', bytes(4)), "3 offsets"),
        (header('{"a":{"dtype":"F32","shape":[1]}}', bytes(4)), "data_offsets"),
        (header("[" * 10**5), "not a safetensors file"),
        (b"\xff" * 8 + b"{}", "its header would take"),
    ],
)
def test_a_file_that_its_header_does_not_fit_is_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_model(str(tmp_path / "a.safetensors"))
    assert "a.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "dims", "message"),
    [
        ("layers.999999999.ln1.weight", (8,), "have 3 layers|lack layers"),
        ("layers.01.ln1.weight", (8,), "known names: layers.01.ln1.weight"),
        ("_orig_mod.ln_final.weight", (8,), "ln_final.weight twice"),
        ("layers.0.ffn.experts.1.weight", (8, 8), "known names"),
        ("layers.0.attn.qkv_proj.weight", (24, 8), "lack layers.0|as well"),
    ],
)
def test_a_tensor_that_fits_no_model_is_refused(
    name: str, dims: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.safetensors", tensors_of() | {name: dims})
    with pytest.raises(ValueError, match=message):
        read_model(str(tmp_path / "a.safetensors"))


def test_a_configuration_with_a_billion_layers_is_compared_at_once(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", tensors_of())
    config = LLAMA | {"num_hidden_layers": 10**9}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="have 2 layers, not 1000000000"):
        read_model(str(tmp_path))


def test_several_weights_in_a_folder_must_be_named(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", tensors_of())
    write(tmp_path / "b.safetensors", tensors_of(dataclasses.replace(SMALL, d_ff=20)))
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(ValueError, match=r"a\.safetensors, b\.safetensors; name one"):
        read_model(str(tmp_path))
    assert read_model(str(tmp_path / "a.safetensors")).require("context_length").d_ff == 12
    assert read_model(str(tmp_path / "b.safetensors")).shape.d_ff == 20
    with pytest.raises(ValueError, match="pass --context-length"):
        read_model(str(tmp_path / "b.safetensors")).require("context_length")
