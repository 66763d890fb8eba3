"""Examine 64 bytes in one step.

Stage: none; what scanners are written in. The answer to a question about each of 64 bytes is one
int64, one bit per byte, the first byte lowest. LLVM compiles the comparisons to what the CPU has:
AVX-512, AVX2, SSE or NEON. Not here: single values (`machine`).
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import config

from bpe._kernels.compiling import inlined
from bpe._kernels.machine import (
    I1,
    I8,
    I16,
    I32,
    I64,
    call,
    count_ones,
    instruction,
    load,
    store,
    store32,
    trailing_zeros,
)

BLOCK = 64
"""Bytes examined together; all of them must be readable."""

_BYTES = ir.VectorType(I8, BLOCK)


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    """Emit a vector with the same number everywhere."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, builder.trunc(value, kind.element), I32(0))
    nowhere = ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, nowhere)


def _mask(builder: Any, answers: Any) -> Any:
    """Emit 64 answers as the bits of one number.

    The empty assembly hides from LLVM where the number comes from. Without it, LLVM moves the
    arithmetic on masks back into vectors of bytes on CPUs without AVX-512, four times slower.
    """
    number = builder.bitcast(answers, I64)
    return builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [number], False)


def _where_between(builder: Any, address: Any, lowest: Any, highest: Any) -> Any:
    above = builder.sub(load(builder, address, _BYTES), _splat(builder, lowest, _BYTES))
    width = _splat(builder, builder.sub(highest, lowest), _BYTES)
    return _mask(builder, builder.icmp_unsigned("<=", above, width))


def _where_equal(builder: Any, address: Any, byte: Any) -> Any:
    wanted = _splat(builder, byte, _BYTES)
    return _mask(builder, builder.icmp_unsigned("==", load(builder, address, _BYTES), wanted))


def _where_one_of(builder: Any, address: Any, *bytes_: Any) -> Any:
    return _mask(builder, _equal_to_any(builder, load(builder, address, _BYTES), bytes_))


def _equal_to_any(builder: Any, block: Any, bytes_: tuple[Any, ...]) -> Any:
    found = ir.Constant(ir.VectorType(I1, BLOCK), [0] * BLOCK)
    for byte in bytes_:
        here = builder.icmp_unsigned("==", block, _splat(builder, byte, _BYTES))
        found = builder.or_(found, here)
    return found


def _where_letter_of(builder: Any, address: Any, *letters: Any) -> Any:
    lower = builder.or_(load(builder, address, _BYTES), ir.Constant(_BYTES, [0x20] * BLOCK))
    return _mask(builder, _equal_to_any(builder, lower, letters))


def _where_letter(builder: Any, address: Any) -> Any:
    lower = builder.or_(load(builder, address, _BYTES), ir.Constant(_BYTES, [0x20] * BLOCK))
    above = builder.sub(lower, ir.Constant(_BYTES, [ord("a")] * BLOCK))
    return _mask(builder, builder.icmp_unsigned("<", above, ir.Constant(_BYTES, [26] * BLOCK)))


where_equal = instruction(2, _where_equal)
"""where_equal(address, byte): which of the 64 bytes are `byte`?"""
where_between = instruction(3, _where_between)
"""where_between(address, lowest, highest): which of the 64 bytes lie between the two, inclusive?"""
where_one_of = instruction(5, _where_one_of)
"""where_one_of(address, a, b, c, d): which of the 64 bytes are one of the four?"""
where_letter_of = instruction(5, _where_letter_of)
"""where_letter_of(address, a, b, c, d): which are one of four letters, in either case?"""
where_letter = instruction(1, _where_letter)
"""where_letter(address): which of the 64 bytes are ASCII letters?"""


def _compress_bits(builder: Any, destination: Any, mask: Any, base: Any) -> Any:
    """Emit `list_bits` by one compression of the bytes 0 to 63, then widening and adding."""
    places = ir.Constant(_BYTES, list(range(BLOCK)))
    undefined = ir.Constant(_BYTES, ir.Undefined)
    chosen = builder.bitcast(mask, ir.VectorType(I1, BLOCK))
    name = "llvm.experimental.vector.compress.v64i8"
    found = call(builder, name, _BYTES, [places, chosen, undefined])
    count = call(builder, "llvm.ctpop.i64", I64, [mask])
    sixteen = ir.VectorType(I32, 16)
    bases = _splat(builder, base, sixteen)

    def put(group: int) -> None:
        lanes = ir.Constant(sixteen, list(range(16 * group, 16 * group + 16)))
        part = builder.zext(builder.shuffle_vector(found, undefined, lanes), sixteen)
        store(builder, builder.add(part, bases), builder.add(destination, I64(64 * group)))

    put(0)
    with builder.if_then(builder.icmp_unsigned(">", count, I64(16))):
        put(1)
        with builder.if_then(builder.icmp_unsigned(">", count, I64(32)), likely=False):
            put(2)
            put(3)
    return count


_list_bits_by_compression = instruction(3, _compress_bits)


@inlined
def _list_bits_one_by_one(destination, mask, base):
    """The same for CPUs that cannot compress bytes; eight stores per step, the last ones void."""
    count = count_ones(mask)
    listed = 0
    while listed < count:
        for _ in range(8):
            store32(destination, base + trailing_zeros(mask))
            mask &= mask - 1
            destination += 4
        listed += 8
    return count


def _can_compress_bytes() -> bool:
    # NUMBA_CPU_NAME compiles for another CPU than the host, whose features are not known.
    is_host = not config.CPU_NAME  # pyright: ignore[reportAttributeAccessIssue] set at run time
    return is_host and bool(llvm.get_host_cpu_features().get("avx512vbmi2"))


list_bits = _list_bits_by_compression if _can_compress_bytes() else _list_bits_one_by_one
"""list_bits(destination, mask, base): write base + its place for each bit, as int32; return the
number of bits.

Up to 64 int32 from `destination` on may be overwritten, however few the bits.
"""


def _copy16(builder: Any, destination: Any, source: Any) -> None:
    store(builder, load(builder, source, ir.VectorType(I32, 16)), destination)


def _narrow16(builder: Any, destination: Any, source: Any) -> None:
    wide = load(builder, source, ir.VectorType(I32, 16))
    store(builder, builder.trunc(wide, ir.VectorType(I16, 16)), destination)


def _fill16(builder: Any, destination: Any, value: Any) -> None:
    store(builder, _splat(builder, value, ir.VectorType(I32, 16)), destination)


copy16 = instruction(2, _copy16, returns=types.void)
"""copy16(destination, source): copy 16 int32."""
narrow16 = instruction(2, _narrow16, returns=types.void)
"""narrow16(destination, source): copy 16 uint32 as 16 uint16."""
fill16 = instruction(2, _fill16, returns=types.void)
"""fill16(destination, value): write one int32 16 times."""
