"""Declare the options that the commands share, and turn them into models and settings.

Stage: a shell -> *models, settings* -> accounts. Not here: the commands.
"""

import argparse
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

from accounting.hardware import Device, find_device
from accounting.shape import FEED_FORWARDS, NORMS, ModelShape
from accounting.sources.inputs import read_model
from accounting.sources.model import Application, Model
from accounting.step import OPTIMIZERS, StepSettings

_SIZES = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")
_SHAPE = {spec.name for spec in fields(ModelShape)}
_STEP = get_type_hints(StepSettings)
_DEFAULT = StepSettings(loss="chunked")
_ABSENT = argparse.SUPPRESS  # what is not given does not appear: the dataclasses have the defaults


def new_parser(prog: str, description: str, *, epilog: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every command."""
    parser = _Parser(
        prog=prog,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--explain", action="store_true", help="print the formula of each line")
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that reports if its help cannot be written, where argparse is silent."""

    def print_help(self, file: Any = None) -> None:
        """Print the help."""
        print(self.format_help(), end="", file=file)


def add_models(parser: argparse.ArgumentParser, application: Application, *, default: str) -> None:
    """Add models by name or path, and options that spell one out."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"{application.accepted}; default: {default}"
    )
    shape = parser.add_argument_group(
        "a shape of your own, or changes to a preset or file", argument_default=_ABSENT
    )
    for name in _SIZES:
        shape.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    shape.add_argument("--num-kv-heads", type=int, metavar="N", help="grouped-query attention")
    shape.add_argument("--feed-forward", choices=FEED_FORWARDS, help="default: swiglu")
    shape.add_argument("--norm", choices=NORMS, help="default: pre")
    shape.add_argument("--position", choices=("rope", "none"), help="default: rope")
    shape.add_argument("--qk-norm", action="store_true", help="RMSNorm on queries and keys")
    shape.add_argument("--tie-embeddings", action="store_true", help="head = embedding")


def add_step(parser: argparse.ArgumentParser) -> None:
    """Add options for how a step is computed."""
    step = parser.add_argument_group("how a step is computed", argument_default=_ABSENT)
    step.add_argument("--batch-size", type=int, metavar="N", help="windows at once (1)")
    step.add_argument("--num-micro-batches", type=int, metavar="N", help="passes per update (1)")
    for name in ("dtype", "attention", "loss"):
        step.add_argument(f"--{name}", choices=get_args(_STEP[name]))
    step.add_argument("--optimizer", choices=OPTIMIZERS)
    step.add_argument("--checkpointing", action="store_true", help="blocks keep their input alone")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add options for the device."""
    device = parser.add_argument_group("the device")
    device.add_argument("--device", metavar="NAME", help="H200, H100, A100, ..., or its full name")
    device.add_argument("--memory-gb", type=float, metavar="GB", help="10^9 bytes")
    device.add_argument("--peak-tflops", type=float, metavar="N", help="see measure-peak")


def read_models(
    arguments: argparse.Namespace, application: Application, *, default: Iterable[str]
) -> dict[str, Model]:
    """Return the models that are named, or the one that is spelt out, or the default ones.

    Sizes and switches change every named model; without a name they describe a shape.

    Raises:
        ValueError: unknown names, impossible sizes, or too few sizes without a name.
    """
    given = {name: value for name, value in vars(arguments).items() if name in _SHAPE}
    if given and not arguments.models:
        missing = [name for name in _SIZES if name not in given]
        if missing:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
            raise ValueError(
                f"a shape needs all six sizes; missing: {options}; or name a model that they change"
            )
        return {"custom": Model(name="custom", shape=ModelShape(**given))}
    names = arguments.models or default
    return {name: read_model(name, application=application, **given) for name in names}


def read_settings(arguments: argparse.Namespace, model: Model) -> StepSettings:
    """Return how a step is computed: by the options, else as in the model's run."""
    given = {name: value for name, value in vars(arguments).items() if name in _STEP}
    training = model.training
    settings = training.settings(read_device(arguments)) if training else _DEFAULT
    return replace(settings, **given)


def read_device(arguments: argparse.Namespace) -> Device | None:
    """Return the named device, or None."""
    return None if arguments.device is None else find_device(arguments.device)


def memory_of(arguments: argparse.Namespace, *, default_gb: float) -> float:
    """Return the available memory in bytes."""
    device = read_device(arguments)
    gigabytes = arguments.memory_gb or (device.memory_gb if device else default_gb)
    if gigabytes <= 0:
        raise ValueError(f"--memory-gb is {gigabytes}, but must be positive")
    return gigabytes * 1e9


def peak_of(arguments: argparse.Namespace, dtype: str) -> float:
    """Return the peak FLOP/s of the device.

    Raises:
        ValueError: neither a device nor a peak is given, or the device has none for this dtype.
    """
    if arguments.peak_tflops is not None:
        if arguments.peak_tflops <= 0:
            raise ValueError(f"--peak-tflops is {arguments.peak_tflops}, but must be positive")
        return arguments.peak_tflops * 1e12
    device = read_device(arguments)
    if device is None:
        raise ValueError("give --device, or --peak-tflops for a device that is in no table")
    peak = device.peak(dtype)
    if peak is None:
        raise ValueError(f"{device.name} has no {dtype} in its datasheet; give another --dtype")
    return peak
