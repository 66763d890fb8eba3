"""Define the machine instructions that Numba does not offer.

Stage: none; the instructions that kernels are written in. All values are int64 bit patterns and
all memory is raw addresses: no bounds checks, no wrap-around, and never a mix of int64 and uint64,
which Numba converts to float64. A caller that passes an address keeps its owner alive (`memory`).
Not here: vectors of bytes (`vectors`).
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I1, I8, I16, I32, I64, I128 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64, 128))
int64 = types.int64
WORD = (1 << 32) - 1
"""All 32 bits set: "none" in arrays of 32-bit numbers."""
GOLDEN = -7046029254386353131
"""0x9E3779B97F4A7C15, 2^64 divided by the golden ratio: a multiplier that spreads keys."""
PRIME = -4417276706812531889
"""0xC2B2AE3D27D4EB4F, the second prime of xxHash64."""


def instruction(num_operands: int, emit: Callable[..., Any], *, returns: Any = int64) -> Any:
    """Make a Numba intrinsic of int64 operands from a function that emits LLVM IR.

    `emit` takes the IR builder and the operands, at most 5, and returns an i64 value or nothing.
    """
    signature = returns(*[int64] * num_operands)

    def generate(context: Any, builder: Any, _signature: Any, operands: Any) -> Any:
        result = emit(builder, *operands)
        return context.get_dummy_value() if returns is types.void else result

    # Numba takes the number of operands from the signature of the function, hence the list.
    typed = (
        lambda typing: (signature, generate),
        lambda typing, a: (signature, generate),
        lambda typing, a, b: (signature, generate),
        lambda typing, a, b, c: (signature, generate),
        lambda typing, a, b, c, d: (signature, generate),
        lambda typing, a, b, c, d, e: (signature, generate),
    )
    return intrinsic(typed[num_operands])


def load(builder: Any, address: Any, kind: Any) -> Any:
    """Emit a load from any address, aligned or not."""
    loaded = builder.load(builder.inttoptr(address, kind.as_pointer()))
    loaded.align = 1
    return loaded


def store(builder: Any, value: Any, address: Any) -> None:
    """Emit a store to any address, aligned or not."""
    stored = builder.store(value, builder.inttoptr(address, value.type.as_pointer()))
    stored.align = 1


def call(builder: Any, name: str, returns: Any, operands: list[Any]) -> Any:
    """Emit a call of an LLVM intrinsic."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        kinds = [operand.type for operand in operands]
        function = ir.Function(module, ir.FunctionType(returns, kinds), name)
    return builder.call(function, operands)


def _field(builder: Any, address: Any, number: Any) -> Any:
    return builder.add(address, builder.mul(number, I64(8)))


def _pair(builder: Any, low: Any, high: Any) -> Any:
    pair = ir.Constant(ir.VectorType(I64, 2), ir.Undefined)
    pair = builder.insert_element(pair, low, I32(0))
    return builder.insert_element(pair, high, I32(1))


def _prefetch(builder: Any, address: Any) -> None:
    pointer = builder.inttoptr(address, I8.as_pointer())
    is_write, closest_cache, is_data = I32(0), I32(3), I32(1)
    operands = [pointer, is_write, closest_cache, is_data]
    call(builder, "llvm.prefetch.p0", ir.VoidType(), operands)


def _mix(builder: Any, x: Any, y: Any) -> Any:
    product = builder.mul(builder.zext(x, I128), builder.zext(y, I128))
    high = builder.trunc(builder.lshr(product, I128(64)), I64)
    return builder.xor(builder.trunc(product, I64), high)


def _keep_scalar(builder: Any) -> None:
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], True)


# Memory: load8(address), store8(address, value); loaded values are zero-extended.
load8 = instruction(1, lambda b, address: b.zext(load(b, address, I8), I64))
load32 = instruction(1, lambda b, address: b.zext(load(b, address, I32), I64))
load64 = instruction(1, lambda b, address: load(b, address, I64))
store8 = instruction(2, lambda b, a, value: store(b, b.trunc(value, I8), a), returns=types.void)
store32 = instruction(2, lambda b, a, value: store(b, b.trunc(value, I32), a), returns=types.void)
store64 = instruction(2, lambda b, a, value: store(b, value, a), returns=types.void)
# Stores 16 bytes at once, from two int64.
store128 = instruction(
    3, lambda b, a, low, high: store(b, _pair(b, low, high), a), returns=types.void
)
prefetch = instruction(1, _prefetch, returns=types.void)

# Fields of a vector of int64: load_field(address, number), store_field(address, number, value).
load_field = instruction(2, lambda b, address, number: load(b, _field(b, address, number), I64))
store_field = instruction(
    3,
    lambda b, address, number, value: store(b, value, _field(b, address, number)),
    returns=types.void,
)

# Bits. Counts of zeros are undefined for 0.
shift_right = instruction(2, lambda b, x, bits: b.lshr(x, bits))
trailing_zeros = instruction(1, lambda b, x: call(b, "llvm.cttz.i64", I64, [x, I1(1)]))
leading_zeros = instruction(1, lambda b, x: call(b, "llvm.ctlz.i64", I64, [x, I1(1)]))
count_ones = instruction(1, lambda b, x: call(b, "llvm.ctpop.i64", I64, [x]))

# Choices without a branch: choose(condition, if_not_zero, if_zero).
min_unsigned = instruction(2, lambda b, x, y: call(b, "llvm.umin.i64", I64, [x, y]))
min_signed = instruction(2, lambda b, x, y: call(b, "llvm.smin.i64", I64, [x, y]))
choose = instruction(3, lambda b, c, x, y: b.select(b.icmp_signed("!=", c, I64(0)), x, y))

# LLVM assumes that a product written as `*` does not overflow.
multiply = instruction(2, lambda b, x, y: b.mul(x, y))
# Multiply to 128 bits and fold: the mixing step of wyhash.
mix = instruction(2, _mix)

# In the body of a short loop over raw addresses, this keeps LLVM from emitting gathers: it cannot
# know how far apart the addresses are.
keep_scalar = instruction(0, _keep_scalar, returns=types.void)
