"""What CUDA's fast paths compute, on a GPU; `test_cuda.py` runs this file by itself."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from nn_layers import (
    RotaryPositionalEmbedding,
    cross_entropy,
    head_loss,
    rotary_attention,
    scaled_dot_product_attention,
)
from trainer.checkpoint.packing import pack_optimizer, unpack_optimizer
from trainer.config.presets import load_preset
from trainer.data.device_batches import DeviceWindows, PinnedWindows
from trainer.evaluation.loss import evaluate_windows
from trainer.plan.compute import ComputePlan
from trainer.plan.model import build_model
from trainer.training.device_step import HISTORY_STEPS, DeviceStepper
from trainer.training.model_loss import build_loss
from trainer.training.step import EagerStepper, host_windows

GPU = torch.device("cuda")
# Text in which something can be learned: a walk of small steps over 500 ids.
STEPS = np.random.default_rng(0).integers(-3, 4, size=200_000)
TOKENS = (np.cumsum(STEPS) % 500).astype(np.uint16)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def _plain_attention(qkv, num_heads, num_kv_heads, rope):
    width = qkv.shape[-1] // (num_heads + 2 * num_kv_heads)
    heads = qkv.unflatten(-1, (-1, width)).transpose(1, 2)
    q, k, v = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    positions = torch.arange(qkv.shape[1], device=GPU)
    if rope is not None:
        q, k = rope(q, positions), rope(k, positions)
    k, v = (x.repeat_interleave(num_heads // num_kv_heads, dim=1) for x in (k, v))
    mask = torch.ones(len(positions), len(positions), dtype=torch.bool, device=GPU).tril()
    return scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


def _relative_error(ours, exact):
    return float((ours.double() - exact.double()).norm() / exact.double().norm())


@pytest.mark.parametrize("layout", ["adjacent", "half", None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("batch", "length", "num_heads", "num_kv_heads", "width"),
    [
        (3, 256, 16, 16, 32),
        (2, 255, 4, 2, 64),
        (2, 300, 4, 1, 32),
        (1, 2048, 2, 2, 64),
        (2, 129, 2, 2, 128),
        (2, 1, 2, 1, 16),
        (5000, 3, 16, 16, 32),
    ],
)
def test_attention_and_its_gradients_are_as_exact_as_the_plain_formula(
    batch, length, num_heads, num_kv_heads, width, dtype, layout
):
    torch.manual_seed(0)
    columns = (num_heads + 2 * num_kv_heads) * width
    qkv = torch.randn(batch, length, columns, device=GPU)
    weights = torch.randn(batch, length, num_heads * width, device=GPU)
    rope = layout and RotaryPositionalEmbedding(1e4, width, length, GPU, layout=layout)

    def by_kernel(x):
        return rotary_attention(
            x,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            tables=rope.float32_tables() if rope else None,
            layout=layout or "half",
        )

    def run(attend, kind):
        x = qkv.to(dtype).to(kind).requires_grad_()
        out = attend(x)
        out.backward(weights.to(dtype).to(out.dtype))
        return out.detach(), x.grad

    def plainly(x):
        return _plain_attention(x, num_heads, num_kv_heads, rope)

    exact, plain, ours = run(plainly, torch.float64), run(plainly, dtype), run(by_kernel, dtype)
    for name, best, twin, found in zip(("out", "gradient"), exact, plain, ours, strict=True):
        allowed = 2 * _relative_error(twin, best) + 1e-6
        assert _relative_error(found, best) <= allowed, name


def test_attention_gives_the_same_bits_at_every_run():
    torch.manual_seed(0)
    qkv = torch.randn(8, 256, 48 * 32, device=GPU, dtype=torch.bfloat16, requires_grad=True)
    grads = []
    for _ in range(3):
        out = rotary_attention(qkv, num_heads=16, num_kv_heads=16, tables=None)
        grads.append(torch.autograd.grad(out.float().square().sum(), qkv)[0])
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("count", "vocabulary"), [(32768, 10_000), (8192, 10_000), (77, 501)])
def test_head_loss_and_its_gradients_are_as_exact_as_the_plain_formula(count, vocabulary, dtype):
    torch.manual_seed(0)
    hidden = torch.randn(count, 128, device=GPU).to(dtype)
    weight = (torch.randn(vocabulary, 128, device=GPU) / 11).to(dtype)
    targets = torch.randint(vocabulary, (count,), device=GPU)

    def run(loss_of, kind):
        factors = [x.to(kind).requires_grad_() for x in (hidden, weight)]
        loss = loss_of(*factors)
        loss.backward()
        return loss.detach(), *(x.grad for x in factors)

    def plainly(x, matrix):
        return cross_entropy(x @ matrix.T, targets)

    exact = run(plainly, torch.float32)
    plain = run(plainly, dtype)
    ours = run(lambda x, matrix: head_loss(x, matrix, targets), dtype)
    for best, twin, found in zip(exact, plain, ours, strict=True):
        assert _relative_error(found, best) <= 2 * _relative_error(twin, best) + 1e-5


def _config(**model):
    preset = load_preset("quickstart")
    shape = {"context_length": 64, "d_model": 128, "num_layers": 2, "num_heads": 4, "d_ff": 256}
    return dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, **shape | model),
        training=dataclasses.replace(preset.training, batch_size=32, micro_batch_size=None),
    )


class _Run:
    def __init__(
        self,
        config,
        *,
        is_plain=False,
        dtype=torch.bfloat16,
        attention="triton",
        loss="triton",
        compiles=True,
        cut=(32,),
        source=DeviceWindows,
    ):
        plan = ComputePlan(dtype=dtype, attention=attention, loss=loss, compile=compiles)
        self.config, self.cut = config, cut
        self.model = build_model(config, vocab_size=500, device=GPU, attention=attention)
        self.optimizer = config.optimizer.build(self.model)
        if is_plain:
            self.stepper = EagerStepper(
                self.model,
                self.optimizer,
                config=config,
                windows=host_windows(TOKENS, config=config, device=GPU),
                loss_of=build_loss(self.model, plan=plan, device=GPU),
            )
            return
        settings = {"max_windows": 32} if source is PinnedWindows else {}
        self.stepper = DeviceStepper(
            self.model,
            self.optimizer,
            windows=source(TOKENS, seed=config.seed, context_length=64, device=GPU, **settings),
            micro_batches=self.micro_batches,
            plan=plan,
            max_norm=config.optimizer.max_grad_norm,
        )

    def micro_batches(self, step):
        ends = list(itertools.accumulate(self.cut))
        return [range(end - size, end) for end, size in zip(ends, self.cut, strict=True)]

    def steps(self, first, last):
        rate = 3e-3
        steps = range(first, last + 1)
        kept = [self.stepper.step(step, rate * min(1.0, step / 20)) for step in steps]
        return np.array([[float(one.loss), float(one.grad_norm)] for one in kept])

    def validation_loss(self):
        return evaluate_windows(
            self.model, TOKENS, num_windows=64, context_length=64, batch_size=64, device=GPU
        )


def _plain(config, dtype):
    settings = {"dtype": dtype, "attention": "plain", "loss": "plain", "compiles": False}
    return _Run(config, is_plain=True, **settings)


def test_float32_steps_are_the_plain_steps():
    config = _config()
    ours = _Run(config, dtype=torch.float32, attention="sdpa").steps(1, 12)
    np.testing.assert_allclose(ours, _plain(config, torch.float32).steps(1, 12), rtol=2e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cut": (8, 8, 16)},
        {"source": PinnedWindows},
        {"loss": "plain"},
        {"loss": "chunked"},
        {"attention": "sdpa"},
        {"compiles": False},
    ],
    ids=str,
)
def test_the_loss_of_200_steps_follows_the_plain_bfloat16_path(settings):
    config = _config()
    plain, ours = _plain(config, torch.bfloat16), _Run(config, **settings)
    expected, found = plain.steps(1, 200)[:, 0], ours.steps(1, 200)[:, 0]
    assert expected[-20:].mean() < expected[:20].mean() - 1, "nothing was learned"
    assert np.abs(expected - found)[:20].max() < 0.02
    assert abs(expected[-20:].mean() - found[-20:].mean()) < 0.02
    assert abs(plain.validation_loss() - ours.validation_loss()) < 0.02


@pytest.mark.parametrize("model", [{"tie_embeddings": True}, {"qk_norm": True, "num_kv_heads": 2}])
def test_other_models_follow_the_plain_path_too(model):
    config = _config(**model)
    expected = _plain(config, torch.bfloat16).steps(1, 60)[:, 0]
    found = _Run(config).steps(1, 60)[:, 0]
    assert abs(expected[-20:].mean() - found[-20:].mean()) < 0.03


def test_a_replayed_graph_makes_the_steps_that_its_program_makes():
    config = _config()
    graphed, ungraphed = _Run(config), _Run(config)
    ungraphed.stepper._runner = lambda program, batches: program.run(batches)
    # The embedding's gradient is summed by atomics, in any order: not the same bits.
    np.testing.assert_allclose(graphed.steps(1, 20), ungraphed.steps(1, 20), rtol=5e-3)


def test_checkpointed_activations_change_no_step():
    config = _config()
    whole, again = _Run(config), _Run(config)
    again.model.activation_checkpointing = True
    np.testing.assert_allclose(whole.steps(1, 10), again.steps(1, 10), rtol=5e-3)


def test_a_resumed_run_goes_on_as_if_nothing_had_happened():
    config = _config()
    whole, first, second = _Run(config), _Run(config), _Run(config)
    expected = whole.steps(1, 30)
    first.steps(1, 15)
    tensors, rest = pack_optimizer(first.optimizer, first.model)
    on_host = {name: tensor.cpu() for name, tensor in tensors.items()}
    second.model.load_state_dict({n: t.cpu() for n, t in first.model.state_dict().items()})
    second.optimizer.load_state_dict(
        unpack_optimizer(on_host, rest, second.optimizer, second.model, source="test")
    )
    np.testing.assert_allclose(second.steps(16, 30), expected[15:], rtol=2e-2)


def test_a_step_that_diverges_keeps_the_weights_and_is_told():
    run = _Run(_config())
    run.steps(1, 6)
    run.model.ln_final.weight.data[0] = float("nan")
    before = run.model.lm_head.weight.clone()
    assert np.isnan(run.steps(7, 9)).all()
    assert torch.equal(run.model.lm_head.weight, before)


def test_replayed_steps_wait_for_nothing_and_keep_their_results():
    run = _Run(_config())
    run.steps(1, 6)
    torch.cuda.set_sync_debug_mode("error")
    try:
        kept = [run.stepper.step(step, 1e-3) for step in range(7, 107)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    losses = [float(result.loss) for result in kept]
    assert HISTORY_STEPS >= len(losses) == len(set(losses))


def test_replaying_allocates_nothing():
    run = _Run(_config())
    run.steps(1, 6)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    run.steps(7, 30)
    assert torch.cuda.memory_allocated() <= before + 2**20
