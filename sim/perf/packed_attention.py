"""Decodes beside a prompt where the engine's attention is FlashAttention 2 (before Hopper's FA3).

Its kernel for queries of any length does not pack the query heads that share a KV head, which its
decode kernel does (`seqlenq_ngroups_swapped`, only where every query is one token). Decodes and
prompt fill each other's idle processors, the less the more waves of thread blocks each has of its
own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.catalog.gpu import Gpu
from sim.perf.mixed_attention import MixedAttention

Array = NDArray[np.float64]

UNPACKED = frozenset({"ampere", "blackwell_rtx"})
"""Architectures on which vLLM and SGLang run FlashAttention 2."""
KNOTS = np.array([0.0, 128.0, 512.0, 2048.0, 8192.0, 32768.0, 131072.0])
QUERY_ROWS = 128.0
"""Queries of a thread block, FlashAttention 2 (arXiv 2307.08691, section 3.3)."""
DECODE_WAVES, PROMPT_WAVES = 1.4, 0.4
"""Waves at which decodes, or a prompt, add half of their seconds to the other. Fitted to the mixed
rows of Llama-3.1-8B and Qwen3-32B on an RTX PRO 6000 (LLMServingSim's tables), whose shares of 0.4
to 1 lie on w/(w + these) within 0.1."""
TILE_QUERIES = 64.0
"""Queries of a tile of matrix operations, at head dimension 128 (flash_fwd_launch_template.h)."""
TILE_TENSOR = 0.4
"""Achieved fraction of the matrix peak on such tiles. Fitted to the same rows."""
EMPTY_TILE_S = 6e-7
"""Seconds of a thread block that finds nothing to do. Fitted to the same rows."""


def mixed_attention(
    surface: Any, gpu: Gpu, heads: dict[str, float], sequences: int, tokens: int
) -> MixedAttention:
    """The law for one layer with these heads, up to so many sequences and prompt tokens."""
    n = np.arange(sequences + 1, dtype=np.float64)
    p = np.arange(tokens + 1, dtype=np.float64)
    q = heads["q_heads"]
    level = np.stack([_unpacked_s(surface, gpu, heads, n, n * knot) for knot in KNOTS], axis=1)
    level[0] = 0.0
    slope = np.diff(level, axis=1) / np.diff(KNOTS)
    decode_waves = n * q / gpu.sm_count
    prompt_waves = p * q / QUERY_ROWS / gpu.sm_count
    return MixedAttention(
        knots=KNOTS,
        level=level,
        slope=np.concatenate([slope, slope[:, -1:]], axis=1),
        decode_share=decode_waves / (decode_waves + DECODE_WAVES),
        prompt_share=prompt_waves / (prompt_waves + PROMPT_WAVES),
        tile_s=EMPTY_TILE_S * q / QUERY_ROWS / gpu.sm_count,
    )


def _unpacked_s(surface: Any, gpu: Gpu, heads: dict[str, float], n: Array, context: Array) -> Array:
    """Seconds of decodes whose query heads each have a thread block of their own.

    Blocks run sequence by sequence, then head by head: those of the heads that share a key meet in
    cache as far as they are under way together, else the key is read again. Each multiplies a
    whole tile of queries, of which one is real.
    """
    q, group = heads["q_heads"], heads["q_heads"] / heads["kv_heads"]
    together = np.clip(gpu.sm_count / np.maximum(n, 1.0), 1.0, group)
    read_s: Array = surface.seconds(gpu, **heads, batch=n, context=context * group / together)
    flops = 4.0 * context * q * heads["head_dim"] * TILE_QUERIES
    return np.maximum(read_s, flops / (gpu.flops_per_s["bf16"] * TILE_TENSOR))
