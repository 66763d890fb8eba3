"""Compile one kernel for compute capability 9.0 and print what it uses; for the test beside."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nn_layers.backends.triton import attention as attention_launch
from nn_layers.backends.triton import cross_entropy as cross_entropy_launch
from nn_layers.backends.triton.attention_backward import (
    attention_backward_keys,
    attention_backward_queries,
)
from nn_layers.backends.triton.attention_forward import attention_forward
from nn_layers.backends.triton.cross_entropy import cross_entropy_rows

HOPPER = GPUTarget("cuda", 90, 32)
NARROW = ("q", "k", "v", "out", "d_out", "dq", "dk", "dv", "logits")
WIDE = ("cos", "sin", "log_totals", "deltas", "losses")
SCALARS = ("scale", "scale_log2", "gradient_scale")


def signature_of(kernel, constants):
    types = dict.fromkeys(NARROW, "*bf16") | dict.fromkeys(WIDE, "*fp32") | {"targets": "*i64"}
    types |= dict.fromkeys(SCALARS, "fp32") | dict.fromkeys(constants, "constexpr")
    return {name: types.get(name, "i32") for name in kernel.arg_names}


def compile_kernel(kernel, constants, *, warps, stages):
    signature = signature_of(kernel, constants)
    source = ASTSource(
        kernel,
        signature,
        {(kernel.arg_names.index(name),): value for name, value in constants.items()},
        {
            (place,): [["tt.divisibility", 16]]
            for place, kind in enumerate(signature.values())
            if kind.startswith("*") or kind == "i32"
        },
    )
    options = {"num_warps": warps, "num_stages": stages}
    return triton.compile(source, target=HOPPER, options=options)


def attention(kind, width, rotation):
    rows, columns = attention_launch.backward_blocks(width, is_narrow=True)
    kernel, blocks = {
        "forward": (attention_forward, attention_launch.forward_blocks(is_narrow=True)),
        "queries": (attention_backward_queries, rows),
        "keys": (attention_backward_keys, columns),
    }[kind]
    constants = {"HEADS": 16, "GROUP": 1, "WIDTH": width, "ROTATION": rotation}
    constants |= {"QUERIES": blocks.queries, "KEYS": blocks.keys, "PRECISION": "tf32"}
    return compile_kernel(kernel, constants, warps=blocks.warps, stages=blocks.stages)


def loss():
    constants = {"COLUMNS": cross_entropy_launch.COLUMNS}
    return compile_kernel(cross_entropy_rows, constants, warps=cross_entropy_launch.WARPS, stages=2)


def report(compiled):
    dump = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [str(dump), "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: re.search(rf"{name}:(\d+)", text)[1] for name in ("REG", "STACK")}
    tensor_cores = int("wgmma" in compiled.asm["ptx"] or "mma.sync" in compiled.asm["ptx"])
    print(f"registers={found['REG']} stack={found['STACK']}", end=" ")
    print(f"shared={compiled.metadata.shared} tensor_cores={tensor_cores}")


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    report(loss() if kind == "loss" else attention(kind, *map(int, numbers)))
