"""Which shapes are timed: enough widths, heads and batches that some can be held out of the fit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from sim.fidelity.bench import Copy, Decode, Exchange, Prefill, Product

TOKENS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512, 768, 1024, 2048, 4096, 8192, 16384)
WIDTHS = (512, 1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 28672, 65536)
QUICK_TOKENS = (1, 8, 16, 64, 128, 256, 1024, 4096, 16384)
QUICK_WIDTHS = (1024, 2048, 4096, 8192, 14336, 16384)
MOST_FLOPS = 2e13
"""Of one product: 25 ms at 800 TFLOP/s. Longer ones say nothing that these do not."""

HEADS = ((4, 1), (8, 1), (16, 1), (16, 2), (8, 8), (32, 4), (32, 8), (32, 32), (48, 8), (96, 8))
QUICK_HEADS = ((8, 1), (16, 1), (16, 16), (32, 8), (48, 8))
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
QUICK_LENGTHS = (128, 512, 2048, 8192)
CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
QUICK_CONTEXTS = (128, 1024, 8192, 32768)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
QUICK_BATCHES = (1, 4, 16, 64, 128)
MOST_TOKENS = 65536
"""Of one prefill step."""
DIMS = (64, 128)

OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
ELEMENTS = tuple(2**e for e in range(8, 29))
QUICK_ELEMENTS = tuple(2**e for e in range(8, 29, 2))
COPIES = tuple(2**e for e in range(24, 33, 2))


def products(dtype: str, quick: bool) -> Iterator[Product]:
    """Matrix products in one number format; token counts are innermost."""
    tokens, widths = (QUICK_TOKENS, QUICK_WIDTHS) if quick else (TOKENS, WIDTHS)
    for n, k, m in product(widths, widths, tokens):
        if 2.0 * m * n * k <= MOST_FLOPS:
            yield Product(dtype, m, n, k)


def prefills(quick: bool) -> Iterator[Prefill]:
    """Prompts of equal length."""
    heads, lengths = (QUICK_HEADS, QUICK_LENGTHS) if quick else (HEADS, LENGTHS)
    batches = QUICK_BATCHES if quick else BATCHES
    for dim, (q, kv), length, batch in product(_dims(quick), heads, lengths, batches):
        if batch * length <= MOST_TOKENS:
            yield Prefill(batch, length, q, kv, dim)


def decodes(quick: bool) -> Iterator[Decode]:
    """Sequences of equal context."""
    heads, contexts = (QUICK_HEADS, QUICK_CONTEXTS) if quick else (HEADS, CONTEXTS)
    batches = QUICK_BATCHES if quick else BATCHES
    for dim, (q, kv), context, batch in product(_dims(quick), heads, contexts, batches):
        yield Decode(batch, context, q, kv, dim)


def copies() -> Iterator[Copy]:
    """Copies from 16 MiB to 4 GiB."""
    yield from (Copy(size) for size in COPIES)


def exchanges(quick: bool) -> tuple[Exchange, ...]:
    """Collectives by message size."""
    sizes = QUICK_ELEMENTS if quick else ELEMENTS
    return tuple(Exchange(op, elements) for op in OPERATIONS for elements in sizes)


def groups(gpus: int) -> tuple[int, ...]:
    """Group sizes among so many GPUs: powers of two, and all of them."""
    sizes = {2**e for e in range(1, 8) if 2**e <= gpus} | ({gpus} if gpus > 1 else set())
    return tuple(sorted(sizes))


def _dims(quick: bool) -> tuple[int, ...]:
    return DIMS[1:] if quick else DIMS
