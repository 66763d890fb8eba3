"""What a model can be read from, and what is refused."""

import json
from pathlib import Path

import pytest

import accounting
from accounting import ModelShape, count_parameters
from accounting.sources.inputs import read_model
from nn_layers import ModelConfig, TransformerLM
from trainer.checkpoint.packing import pack_model
from trainer.checkpoint.single_file import to_safetensors

LLAMA = {
    "model_type": "llama",
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 8192,
    "tie_word_embeddings": True,
}
# What the published files hold, by the index of their tensors.
PUBLISHED = {
    "gpt2": (
        {
            "model_type": "gpt2",
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
        },
        124_439_808,
    ),
    "llama 3.2 1B": (LLAMA, 1_235_814_400),
    "llama 2 7B": (
        {
            "model_type": "llama",
            "vocab_size": 32000,
            "max_position_embeddings": 4096,
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "intermediate_size": 11008,
        },
        6_738_415_616,
    ),
    "mistral 7B": (
        {
            "model_type": "mistral",
            "vocab_size": 32000,
            "max_position_embeddings": 32768,
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "intermediate_size": 14336,
            "sliding_window": 4096,
        },
        7_241_732_096,
    ),
    "qwen 2.5 0.5B": (
        {
            "model_type": "qwen2",
            "vocab_size": 151936,
            "max_position_embeddings": 32768,
            "hidden_size": 896,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "intermediate_size": 4864,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
        },
        494_032_768,
    ),
    "qwen 3 0.6B": (
        {
            "model_type": "qwen3",
            "vocab_size": 151936,
            "max_position_embeddings": 40960,
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 3072,
            "tie_word_embeddings": True,
        },
        596_049_920,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_their_parameters(name: str, tmp_path: Path) -> None:
    config, total = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert count_parameters(read_model(str(tmp_path)).shape).total == total


def test_the_sources_name_no_program_that_trains_models_but_to_recommend_it() -> None:
    sources = Path(accounting.__file__).parent
    found = {
        (path.name, word)
        for path in sources.rglob("*.py")
        for word in ("trainer", "config.toml", "checkpoints/", "metrics.jsonl", "[model]", "stdlib")
        if word in path.read_text(encoding="utf-8")
    }
    assert found == {("inputs.py", "trainer")}


@pytest.mark.parametrize("name", ["config.toml", "plan.toml"])
def test_what_the_trainer_reads_is_refused_with_its_command(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("[model]\nd_model = 8\n")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match="`uv run --package trainer costs` accepts") as caught:
            read_model(str(source))
        assert len(str(caught.value).splitlines()) == 1


SIZES = {"context_length": 8, "d_model": 12, "num_layers": 2, "num_heads": 3, "d_ff": 20}


@pytest.mark.parametrize(
    "switches",
    [
        {"qk_norm": True, "num_kv_heads": 1},
        {"tie_embeddings": True},
        {"norm": "post"},
        {"norm": "none", "feed_forward": "silu"},
    ],
)
def test_a_safetensors_header_says_the_shape(switches: dict[str, object], tmp_path: Path) -> None:
    model = TransformerLM(ModelConfig(vocab_size=50, **SIZES, **switches))
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"".join(to_safetensors(pack_model(model)[0], {})))
    read = read_model(str(path))
    assert count_parameters(read.shape).total == model.num_parameters
    assert read.weights.num_parameters == model.num_parameters
    with pytest.raises(ValueError, match="pass --context-length"):
        read.require("context_length")
    whole = read_model(str(path), context_length=8, num_heads=3, head_width=None, **switches)
    assert whole.require("context_length", "num_heads") == ModelShape(
        vocab_size=50, **SIZES, **{"num_kv_heads": whole.shape.num_kv_heads} | switches
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "config.json",
            json.dumps({**LLAMA, "model_type": "mamba"}),
            "one of gpt2, llama",
        ),
        ("config.json", json.dumps({"model_type": "llama"}), "lacks 'vocab_size'"),
        ("config.json", json.dumps({**LLAMA, "hidden_size": "x"}), "d_model is 'x'"),
        (
            "config.json",
            json.dumps({**PUBLISHED["qwen 3 0.6B"][0], "use_sliding_window": True}),
            "layers of two kinds",
        ),
        ("config.json", json.dumps({"d_modle": 8}), "did you mean 'd_model'"),
        ("config.json", "[]", "must hold a JSON object"),
        ("config.json", "{", "not valid JSON"),
        ("config.json", "[" * 100_000, "not valid JSON"),
        ("x.safetensors", "12345", "not a safetensors file"),
        ("x.safetensors", "\x02\0\0\0\0\0\0\0{}", "known names"),
        ("x.safetensors", '\x08\0\0\0\0\0\0\0{"a":[]}', "not a safetensors file"),
        ("x.bin", "", "of an unknown kind"),
        ("empty", None, "holds neither"),
    ],
)
def test_what_cannot_be_read_is_refused(
    name: str, content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_model(str(path))
