"""The compiled decoding step: what it computes, and how it reports that it cannot run."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from nn_layers import (
    KVCache,
    ModelConfig,
    NativeDecoder,
    NativeError,
    TransformerLM,
    round_weights,
)
from nn_layers.backends.cpu import build
from nn_layers.backends.cpu.decoder import _SOURCE, is_decoder_built
from nn_layers.precision import quantize_rows

SIZES = {"vocab_size": 37, "context_length": 9, "d_model": 24, "num_layers": 2, "num_heads": 4}
SWITCHES = [
    {},
    {"rope_layout": "half", "num_kv_heads": 2},
    {"norm": "post", "feed_forward": "silu"},
    {"norm": "none", "position": "none", "num_kv_heads": 1},
    {"qk_norm": True, "tie_embeddings": True},
]


@pytest.fixture(autouse=True)
def _needs_a_compiler(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("there is no C++ compiler")


def _model(**switches: object) -> TransformerLM:
    torch.manual_seed(0)
    model = TransformerLM(ModelConfig(**SIZES, d_ff=27, **switches)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # gains of one would hide that they are used
            parameter.mul_(torch.rand_like(parameter) + 0.5)
    return model


@torch.inference_mode()
def _filled(model: TransformerLM, ids: list[int]) -> KVCache:
    cache = KVCache(model.config)
    model(torch.tensor([ids]), cache=cache)
    return cache


@torch.inference_mode()
def _plain(model: TransformerLM, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids]))[0]


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("switches", SWITCHES)
def test_it_gives_what_the_layers_give(switches: dict[str, object], weights: str) -> None:
    model, ids = _model(**switches), [5, 0, 36, 7, 7, 1, 30, 2, 9]
    rounded = round_weights(model, weights)
    decoder, cache = NativeDecoder(model, weights), _filled(rounded, ids[:2])
    found = torch.cat([decoder.step([token], [cache]) for token in ids[2:]])
    torch.testing.assert_close(found, _plain(rounded, ids)[2:], atol=2e-5, rtol=2e-5)
    assert cache.length == len(ids)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_a_sequence_has_the_same_bits_beside_others(weights: str) -> None:
    model = _model()
    decoder = NativeDecoder(model, weights)
    prompts = [[1, 2, 3, 4, 5], [7], [8, 9, 10]]
    alone = [decoder.step([6], [_filled(model, prompt)]) for prompt in prompts]
    together = decoder.step([6, 6, 6], [_filled(model, prompt) for prompt in prompts])
    assert torch.equal(together, torch.cat(alone))


def test_the_number_of_threads_changes_no_bit() -> None:
    model, before = _model(), torch.get_num_threads()
    found = []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            found.append(NativeDecoder(model).step([6], [_filled(model, [1, 2])]))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_diverged_model_gives_logits_that_are_no_numbers() -> None:
    model = _model()
    cache = _filled(model, [1])
    with torch.no_grad():
        model.layers[1].ffn.w2.weight[3, 3] = float("nan")
    assert NativeDecoder(model).step([1], [cache]).isnan().any()


@pytest.mark.parametrize(("token", "length"), [(37, 1), (-1, 1), (0, 9)])
def test_what_would_be_outside_the_arrays_is_refused(token: int, length: int) -> None:
    model = _model()
    with pytest.raises(ValueError, match=r"token below 37 after 1 \.\. 8 positions is needed"):
        NativeDecoder(model).step([token], [_filled(model, [1] * length)])
    with pytest.raises(ValueError, match="token 1 after 0 positions"):
        NativeDecoder(model).step([1], [KVCache(model.config)])


def test_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="float64 on cpu, but the compiled step needs float32"):
        NativeDecoder(_model().double())


def test_without_a_compiler_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not is_decoder_built()
    with pytest.raises(NativeError, match=r"needs a C\+\+ compiler, and there is none"):
        NativeDecoder(_model())


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'no disk left' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(os, "environ", {**os.environ, "CXX": str(broken)})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NativeError, match="no disk left; set CXX to another compiler"):
        build.build(_SOURCE)
    assert not any((tmp_path / "nn-layers").iterdir())


def test_a_cache_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not is_decoder_built()
    with pytest.raises(NativeError, match=r"cannot be built below .*file.*; set XDG_CACHE_HOME"):
        build.build(_SOURCE)


def test_integers_are_within_half_a_step_of_the_weights() -> None:
    weight = torch.randn(5, 40)
    weight[2] = 0
    integers, scales = quantize_rows(weight)
    assert ((integers * scales[:, None] - weight).abs() <= scales[:, None] * 0.501).all()
    assert integers.abs().amax(1).tolist() == [127, 127, 0, 127, 127]


def test_rounding_leaves_the_model_and_its_gains_alone() -> None:
    model = _model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rounded = round_weights(model, "int8").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, rounded[name]) == (value.dim() == 1)
