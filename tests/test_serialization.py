"""One file for model, optimizer and iteration: what is saved comes back bit for bit."""

import io
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from optim import AdamW
from trainer.checkpoint import packing
from trainer.checkpoint.single_file import load_checkpoint, save_checkpoint


def _model(width: int = 8, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, width), nn.BatchNorm1d(width), nn.Linear(width, 3))


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, *, steps: range) -> None:
    for step in steps:
        data = torch.randn(16, 5, generator=torch.Generator().manual_seed(step))

        def closure(data: Tensor = data) -> Tensor:
            optimizer.zero_grad()
            loss = model(data).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)


def _assert_equal(a: object, b: object) -> None:
    """Compare nested state bitwise, types included."""
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            _assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            _assert_equal(x, y)
    else:
        assert a == b


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "ours": lambda m: AdamW(m.parameters(), lr=0.1, weight_decay=0.01),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=0.1, betas=(0.8, 0.9)),
    "amsgrad": lambda m: torch.optim.Adam(m.parameters(), lr=0.1, amsgrad=True),
    "momentum": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9),
    "plain sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
    "tensor rate": lambda m: torch.optim.Adam(m.parameters(), lr=torch.tensor(0.1)),
    "rprop": lambda m: torch.optim.Rprop(m.parameters()),
    "nadam": lambda m: torch.optim.NAdam(m.parameters()),
    "lbfgs": lambda m: torch.optim.LBFGS(m.parameters(), max_iter=3),
    "groups": lambda m: torch.optim.AdamW(
        [{"params": m[2].parameters(), "lr": 0.5}, {"params": m[0].parameters()}], lr=0.1
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_checkpointing(name: str, tmp_path: Path) -> None:
    model = _model()
    optimizer = OPTIMIZERS[name](model)
    _train(model, optimizer, steps=range(4))
    save_checkpoint(model, optimizer, 4, tmp_path / "ck.safetensors")

    resumed = _model(seed=1)
    resumed_optimizer = OPTIMIZERS[name](resumed)
    assert load_checkpoint(tmp_path / "ck.safetensors", resumed, resumed_optimizer) == 4
    _assert_equal(dict(resumed.state_dict()), dict(model.state_dict()))
    _assert_equal(resumed_optimizer.state_dict(), optimizer.state_dict())

    _train(model, optimizer, steps=range(4, 8))
    _train(resumed, resumed_optimizer, steps=range(4, 8))
    _assert_equal(dict(resumed.state_dict()), dict(model.state_dict()))


def test_checkpointing_before_the_first_step(tmp_path: Path) -> None:
    model, resumed = _model(), _model(seed=1)
    save_checkpoint(model, torch.optim.AdamW(model.parameters()), 0, str(tmp_path / "x"))
    fresh = torch.optim.AdamW(resumed.parameters())
    assert load_checkpoint(str(tmp_path / "x"), resumed, fresh) == 0
    _assert_equal(dict(resumed.state_dict()), dict(model.state_dict()))


def test_binary_file_holds_the_same_bytes_as_a_path(tmp_path: Path) -> None:
    model = _model()
    optimizer = torch.optim.AdamW(model.parameters())
    _train(model, optimizer, steps=range(1))
    file = io.BytesIO()
    save_checkpoint(model, optimizer, 1, file)
    save_checkpoint(model, optimizer, 1, tmp_path / "x")
    assert file.getvalue() == (tmp_path / "x").read_bytes()
    file.seek(0)
    assert load_checkpoint(file, model, optimizer) == 1


def test_iteration_and_format_are_plain_metadata_of_a_safetensors_file(tmp_path: Path) -> None:
    model = _model()
    save_checkpoint(model, torch.optim.SGD(model.parameters()), 17, tmp_path / "x")
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert file.metadata()["iteration"] == "17"
        assert file.metadata()["format"] == "trainer.single-file-checkpoint"
        assert torch.equal(file.get_tensor("model.0.weight"), model[0].weight)
        json.loads(file.metadata()["optimizer"])


class Tied(nn.Module):
    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        if tied:
            self.head.weight = self.embedding.weight


def test_tied_tensors_are_stored_once_and_tied_again(tmp_path: Path) -> None:
    model, other = Tied(), Tied()
    save_checkpoint(model, torch.optim.SGD(model.parameters()), 1, tmp_path / "x")
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert list(file.keys()) == ["model.embedding.weight"]
    load_checkpoint(tmp_path / "x", other, torch.optim.SGD(other.parameters()))
    assert other.head.weight is other.embedding.weight
    assert torch.equal(other.head.weight, model.head.weight)


@pytest.mark.parametrize(
    ("saved", "loaded", "message"),
    [
        (True, False, "head.weight and embedding.weight were one tensor"),
        (False, True, "head.weight and embedding.weight differ, but the model shares them"),
    ],
)
def test_tied_and_untied_models_are_not_confused(
    tmp_path: Path, saved: bool, loaded: bool, message: str
) -> None:
    model, other = Tied(tied=saved), Tied(tied=loaded)
    save_checkpoint(model, torch.optim.SGD(model.parameters()), 1, tmp_path / "x")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "x", other, torch.optim.SGD(other.parameters()))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: _model(9), r"another model: 0\.weight is \(8, 5\) and not \(9, 5\)"),
        (
            lambda: nn.Sequential(nn.Linear(5, 8)),
            r"has no 1\.bias, 1\.num\w+, 1\.running_mean and 4",
        ),
        (lambda: nn.Sequential(*_model(), nn.Linear(3, 3)), r"it lacks 3\.weight, 3\.bias"),
    ],
)
def test_another_model_is_refused_by_name_and_left_alone(
    tmp_path: Path, build: Callable[[], nn.Module], message: str
) -> None:
    model, other = _model(), build()
    save_checkpoint(model, torch.optim.SGD(model.parameters()), 1, tmp_path / "x")
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "x", other, torch.optim.SGD(other.parameters()))
    _assert_equal(before, dict(other.state_dict()))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda m: torch.optim.SGD(m.parameters()), "state of AdamW, but the optimizer is SGD"),
        (lambda m: torch.optim.AdamW(m[0].parameters()), r"in group 0 the model has no 1\.weight"),
        (
            lambda m: torch.optim.AdamW([{"params": [p]} for p in m.parameters()]),
            "1 groups and not 6",
        ),
        (lambda m: torch.optim.AdamW(list(m.parameters())[::-1]), "their order differs"),
    ],
)
def test_another_optimizer_is_refused_and_the_model_left_alone(
    tmp_path: Path, build: Callable[[nn.Module], torch.optim.Optimizer], message: str
) -> None:
    model, other = _model(), _model(seed=1)
    save_checkpoint(model, torch.optim.AdamW(model.parameters()), 1, tmp_path / "x")
    before = other[0].weight.clone()
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "x", other, build(other))
    assert torch.equal(before, other[0].weight)


def test_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters())
    save_checkpoint(model, optimizer, 1, tmp_path / "x")

    def fail(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(model, optimizer, 2, tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert load_checkpoint(tmp_path / "x", model, optimizer) == 1


def test_file_mode_follows_the_umask(tmp_path: Path) -> None:
    model = _model()
    (tmp_path / "plain").touch()
    save_checkpoint(model, torch.optim.SGD(model.parameters()), 1, tmp_path / "x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_torn_file_is_refused(tmp_path: Path, cut: int) -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters())
    save_checkpoint(model, optimizer, 1, tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:cut])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load_checkpoint(tmp_path / "x", model, optimizer)


def test_other_safetensors_file_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = _model()
    save_file(dict(model.state_dict()), tmp_path / "x")
    with pytest.raises(ValueError, match=r"of format None version None, but 'trainer\.single-file"):
        load_checkpoint(tmp_path / "x", model, torch.optim.SGD(model.parameters()))


class Odd(nn.Module):
    """A state of scalars, views, transposes, empty tensors and Python values."""

    def __init__(self, value: float) -> None:
        super().__init__()
        base = torch.arange(12.0).reshape(3, 4) * value
        self.register_buffer("scalar", torch.tensor(value, dtype=torch.float64))
        self.register_buffer("left", base[:, :2])
        self.register_buffer("transposed", base.T)
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("brain", base.to(torch.bfloat16))
        self.register_buffer("flags", base > 3)
        self.extra = nn.Linear(1, 1)  # a name that the file format could trip over
        self.python = {"note": "x", "bound": float("inf"), 3: (value, None, [True])}

    def get_extra_state(self) -> object:
        return {"python": self.python, "tensor": self.scalar + 1}

    def set_extra_state(self, state: dict) -> None:
        self.python, self.from_tensor = state["python"], state["tensor"]


def test_unusual_state_comes_back(tmp_path: Path) -> None:
    model, other = Odd(2.0), Odd(5.0)
    save_checkpoint(model, torch.optim.SGD(model.parameters()), 1, tmp_path / "x")
    load_checkpoint(tmp_path / "x", other, torch.optim.SGD(other.parameters()))
    for name, tensor in model.named_buffers():
        assert torch.equal(tensor, other.get_buffer(name)), name
    assert torch.equal(model.extra.weight, other.extra.weight)
    assert other.python == model.python
    assert other.from_tensor == 3.0


def test_state_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters())
    optimizer.param_groups[0]["hook"] = print
    with pytest.raises(ValueError, match=r"param_groups\.0\.hook is a builtin_function"):
        save_checkpoint(model, optimizer, 1, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_checkpoint_moves_between_devices(tmp_path: Path) -> None:
    model = _model().cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 5, device="cuda")).sum().backward()
    optimizer.step()
    save_checkpoint(model, optimizer, 1, tmp_path / "x")
    other = _model(seed=1)
    other_optimizer = torch.optim.AdamW(other.parameters())
    load_checkpoint(tmp_path / "x", other, other_optimizer)
    assert torch.equal(other[0].weight, model[0].weight.cpu())
    assert not other_optimizer.state[other[0].weight]["exp_avg"].is_cuda


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters())
    save_checkpoint(model, optimizer, 7, tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    for bit in range(0, 8 * len(data), 5):  # in time every bit of a byte
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"checkpoint|safetensors|format"):
            load_checkpoint(io.BytesIO(flipped), model, optimizer)


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "plain": lambda model: model,
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "compiled and parallel": lambda model: nn.DataParallel(torch.compile(model)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("wrap_ours", WRAPPERS.values(), ids=WRAPPERS)
def test_checkpoints_of_wrapped_models_load_into_models_wrapped_otherwise(
    wrap: Callable[[nn.Module], nn.Module],
    wrap_ours: Callable[[nn.Module], nn.Module],
    tmp_path: Path,
) -> None:
    model, ours = _model(seed=1), _model(seed=2)
    optimizer, our_optimizer = (OPTIMIZERS["ours"](one) for one in (model, ours))
    _train(model, optimizer, steps=range(2))
    save_checkpoint(wrap(model), optimizer, 2, tmp_path / "saved")
    assert load_checkpoint(tmp_path / "saved", wrap_ours(ours), our_optimizer) == 2
    _assert_equal(ours.state_dict(), model.state_dict())
    _assert_equal(our_optimizer.state_dict(), optimizer.state_dict())
    with safe_open(tmp_path / "saved", "pt") as file:
        assert "model.0.weight" in file.keys()  # noqa: SIM118 - not a dict


def test_a_checkpoint_that_was_saved_with_the_names_of_a_wrapper_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ours = _model(seed=1), _model(seed=2)
    optimizer, our_optimizer = (OPTIMIZERS["ours"](one) for one in (model, ours))
    with monkeypatch.context() as earlier:
        earlier.setattr(packing, "plain_names", lambda names: {name: name for name in names})
        save_checkpoint(nn.DataParallel(model), optimizer, 3, tmp_path / "saved")
    assert load_checkpoint(tmp_path / "saved", ours, our_optimizer) == 3
    _assert_equal(ours.state_dict(), model.state_dict())


def test_an_optimizer_over_a_part_called_module_is_not_taken_for_a_wrapped_one(
    tmp_path: Path,
) -> None:
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = AdamW(model["module"].parameters(), lr=0.1)
    save_checkpoint(model, optimizer, 1, tmp_path / "saved")
    assert load_checkpoint(tmp_path / "saved", model, optimizer) == 1
