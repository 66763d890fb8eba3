"""Backends: what is known of them without torch, what `auto` takes, and what it never does."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

import nn_layers
from nn_layers import (
    KVCache,
    ModelConfig,
    MultiHeadSelfAttention,
    NativeDecoder,
    NativeError,
    RotaryPositionalEmbedding,
    TransformerLM,
)
from nn_layers.attention import scaled_dot_product_attention
from nn_layers.backends.choice import (
    attention_backends,
    auto_order,
    choose_attention,
    choose_loss,
    loss_backends,
)
from nn_layers.backends.interface import AttentionBackend, Backend, LossBackend, Setting
from nn_layers.backends.registry import class_names, describe, names
from nn_layers.positions import NoPositions, Positions

CPU = torch.device("cpu")
LOOP = """
    \"\"\"Attend by a plain loop over the queries.\"\"\"

    import torch

    from nn_layers.backends.interface import AttentionBackend


    class Backend(AttentionBackend):
        keeps = ("b h t t",)

        def attend(self, q, k, v, *, past, bias=None):
            scale = q.shape[-1] ** -0.5
            rows = []
            for i in range(q.shape[-2]):
                seen = slice(past + i + 1)
                scores = (q[..., i : i + 1, :] @ k[..., seen, :].mT) * scale
                rows.append(scores.softmax(-1) @ v[..., seen, :])
            return torch.cat(rows, dim=-2)
"""


class _Slopes(Positions):
    """A scheme that no backend knows: scores fall with the distance, as in ALiBi."""

    name: ClassVar[str] = "slopes"

    def bias(self, token_positions: Tensor, *, past: int, num_heads: int) -> Tensor:
        earlier = torch.arange(past, dtype=torch.int64, device=token_positions.device)
        keys = torch.cat((earlier, token_positions))
        slopes = torch.arange(1, num_heads + 1, dtype=torch.float32, device=keys.device)
        distance = token_positions[:, None] - keys[None, :]
        return -slopes[:, None, None] * distance


def _setting(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    positions: type[Positions] = RotaryPositionalEmbedding,
) -> Setting:
    return Setting(device=torch.device(device), dtype=dtype, d_head=16, positions=positions)


def _run(code: str, folder: Path | None = None) -> str:
    paths = {} if folder is None else {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | paths)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_names_descriptions_and_configurations_need_no_torch() -> None:
    found = _run("""
        import sys
        from nn_layers import ModelConfig
        from nn_layers.backends.registry import describe, names
        assert ModelConfig(10, 8, 16, 1, 2, 32).attention == "auto"
        print(*names("attention"), *names("loss"), *describe("loss").values())
        assert not {"torch", "numpy", "einops"} & sys.modules.keys()
    """)
    assert found.startswith("matmul native plain sdpa triton chunked in-place native plain triton ")


def test_every_backend_is_described_in_a_sentence_and_loads() -> None:
    for kind, backends in (("attention", attention_backends()), ("loss", loss_backends())):
        assert tuple(backends) == names(kind)
        for sentence in describe(kind).values():
            assert sentence.endswith(".")
            assert sentence[0].isupper()


@pytest.mark.parametrize("base", [AttentionBackend, LossBackend])
def test_a_backend_that_lacks_its_method_is_refused_when_it_is_loaded(base: type[Backend]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Backend", (base,), {})()


def test_every_position_scheme_is_listed() -> None:
    own = [one for one in Positions.__subclasses__() if one.__module__ == Positions.__module__]
    assert class_names("positions") == tuple(one.name for one in own)


@pytest.mark.parametrize(
    ("setting", "attention", "loss"),
    [
        (_setting(), "native matmul sdpa plain", "native chunked plain"),
        (_setting("cuda", torch.bfloat16), "triton sdpa plain", "triton plain"),
        (_setting("cuda"), "sdpa plain", "triton plain"),
        (_setting("mps"), "sdpa plain", "chunked plain"),
    ],
)
def test_auto_walks_the_backends_in_order(setting: Setting, attention: str, loss: str) -> None:
    assert auto_order(attention_backends(), setting) == attention.split()
    assert auto_order(loss_backends(), setting) == loss.split()


def test_nothing_is_built_unless_somebody_is_told() -> None:
    assert choose_attention("auto", _setting()).name == "matmul"
    assert choose_loss("auto", _setting()).name == "chunked"


def test_a_fallback_is_reported_once_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from nn_layers.backends.loss import native

    monkeypatch.setattr(native, "why_no_native_kernels", lambda dtype: "the CPU is old")
    choice = choose_loss("auto", _setting(), option="training.loss", say=pytest.fail)
    assert choice.name == "chunked"
    assert choice.notes == ("loss: falling back to chunked, which is slower: the CPU is old",)


def test_positions_that_a_backend_does_not_know_leave_the_formula_alone() -> None:
    choice = choose_attention("auto", _setting(positions=_Slopes), say=pytest.fail)
    assert choice.name == "plain"
    (note,) = choice.notes
    assert note.startswith("attention: falling back to plain, which is slower: ")
    assert note.count("it knows the positions none and rope, not slopes") == 1


@pytest.mark.parametrize("name", [name for name in names("attention") if name != "plain"])
def test_a_backend_that_does_not_know_the_positions_is_refused_by_name(name: str) -> None:
    refusal = f"attention is {name}, but .*not slopes; use auto"
    with pytest.raises(ValueError, match=refusal):
        MultiHeadSelfAttention(32, 2, rope=_Slopes(), attention=name)
    layer = MultiHeadSelfAttention(32, 2, rope=_Slopes())
    with pytest.raises(ValueError, match=refusal):
        layer.attention = name
    device = {"native": "cpu", "triton": "cuda"}.get(name, "cpu")
    with pytest.raises(ValueError, match="not slopes"):
        choose_attention(name, _setting(device, torch.bfloat16, _Slopes))


@torch.inference_mode()
def test_a_scheme_reaches_the_scores_with_and_without_a_cache() -> None:
    torch.manual_seed(0)
    layer, x = MultiHeadSelfAttention(32, 2, rope=_Slopes()), torch.randn(1, 6, 32)
    q, k, v = (one.weight.mul(1) @ x[0].T for one in (layer.q_proj, layer.k_proj, layer.v_proj))
    q, k, v = (one.view(2, 16, 6).mT for one in (q, k, v))
    distance = torch.arange(6)[:, None] - torch.arange(6)[None, :]
    bias = -torch.tensor([1.0, 2.0])[:, None, None] * distance
    heads = scaled_dot_product_attention(q, k, v, distance >= 0, bias)
    expected = layer.output_proj(heads.transpose(0, 1).flatten(1))
    torch.testing.assert_close(layer(x)[0], expected)
    cache = KVCache(ModelConfig(5, 6, 32, 1, 2, 8))
    parts = []
    for part in x.split([4, 2], dim=1):
        parts.append(layer(part, cache=cache))
        cache.advance(part.shape[1])
    torch.testing.assert_close(torch.cat(parts, dim=1), layer(x))
    assert not torch.allclose(layer(x), MultiHeadSelfAttention(32, 2)(x))


def test_the_compiled_step_refuses_positions_that_it_does_not_know() -> None:
    model = TransformerLM(ModelConfig(10, 8, 32, 1, 2, 32))
    model.positions = _Slopes()
    with pytest.raises(NativeError, match="supports the positions none and rope, not slopes"):
        NativeDecoder(model)


def test_auto_follows_the_layer_to_another_device() -> None:
    layer = MultiHeadSelfAttention(32, 2, device="meta")
    assert layer.backend is attention_backends()["sdpa"]
    assert layer.to_empty(device="cpu").backend is attention_backends()["matmul"]
    assert isinstance(layer.positions, NoPositions)


@pytest.mark.parametrize(("old", "new"), [("fused", "'fused', which has been renamed; use sdpa")])
def test_a_renamed_backend_is_refused_with_its_new_name(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=new):
        ModelConfig(10, 8, 16, 1, 2, 32, attention=old)
    with pytest.raises(ValueError, match="must be one of 'auto', 'matmul'"):
        MultiHeadSelfAttention(32, 2, attention="fast")


def test_one_new_class_is_a_position_scheme_with_its_option_and_its_memory(tmp_path: Path) -> None:
    copied = tmp_path / "nn_layers"
    shutil.copytree(Path(nn_layers.__file__).parent, copied, ignore=lambda *_: {"__pycache__"})
    scheme = """

class Slopes(Positions):
    name = "slopes"

    def bias(self, token_positions, *, past, num_heads):
        keys = torch.cat((torch.arange(past), token_positions))
        slopes = torch.arange(1.0, num_heads + 1)[:, None, None]
        return -slopes * (token_positions[:, None] - keys)
"""
    with (copied / "positions.py").open("a") as file:
        file.write(scheme)
    found = _run(
        """
        import torch
        from trainer.cli.run_arguments import parse_train
        from trainer.plan.compute import plan_compute
        from trainer.plan.estimate import predict_peak_bytes
        from trainer.plan.model import build_model

        config = parse_train(["--model.position", "slopes", "--device", "cpu"]).config
        plan = plan_compute(config, device=torch.device("cpu"))
        model = build_model(config, vocab_size=300, device=torch.device("cpu"))
        logits = model(torch.zeros(1, 7, dtype=torch.int64))
        print(plan.attention, model.positions.name, predict_peak_bytes(config) > 0)
        """,
        tmp_path,
    )
    assert found == "plain slopes True\n"


def test_one_new_file_is_a_backend_with_its_option_its_help_and_its_memory(tmp_path: Path) -> None:
    copied = tmp_path / "nn_layers"
    shutil.copytree(Path(nn_layers.__file__).parent, copied, ignore=lambda *_: {"__pycache__"})
    (copied / "backends" / "attention" / "loop.py").write_text(textwrap.dedent(LOOP).lstrip())
    found = _run(
        """
        import torch
        from nn_layers import MultiHeadSelfAttention
        from trainer.cli.run_arguments import _describe_backends, parse_train
        from trainer.plan.compute import plan_compute
        from trainer.plan.step_settings import step_settings

        layer, x = MultiHeadSelfAttention(32, 2), torch.randn(2, 5, 32)
        expected = layer(x)
        layer.attention = "loop"
        torch.testing.assert_close(layer(x), expected)
        assert "loop      Attend by a plain loop over the queries." in _describe_backends()
        config = parse_train(["--model.attention", "loop", "--device", "cpu"]).config
        plan = plan_compute(config, device=torch.device("cpu"))
        print(plan.attention, step_settings(config, plan).attention_keeps)
        """,
        tmp_path,
    )
    assert found == "loop ('b h t t',)\n"
