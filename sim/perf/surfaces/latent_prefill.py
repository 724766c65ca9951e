"""Prefill of multi-head latent attention: keys and values are rebuilt per head.

Non-absorbed form (DeepSeek-V2, arXiv 2405.04434, section 2.1): heads of nope + rope numbers for
queries and keys, v for values; 2·(nope + rope + v) operations per head and query-key pair. Keys of
earlier chunks are rebuilt from their latents for every later chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.catalog.formats import compute_peak
from sim.catalog.gpu import Gpu

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LatentPrefill:
    """seconds = max(floor_s, base_s[p] + chunks·chunk_s
    + max(pairs·pair_s[p] + (keys − p)·cached_key_s, keys·key_s)), p = new tokens of all chunks.

    - base_s = `start_s` + p·(`token_s` + heads·`touches`·bytes of q, k, v and output ÷ bandwidth).
    - chunk_s = `chunk_s` + heads·`block_s` ÷ SMs: a thread block per head even for one token.
    - pair_s: m = heads·2·(nope + rope + v) ÷ (peak·`compute`); l = `serial_s` ÷ p, since a block
      walks its keys one tile after the other and pairs ÷ p is the mean walk; √(m² + l²).
    - cached_key_s: kv_b product at `rebuild` of the peak, its result written and read once.
    - key_s: latent bytes ÷ (bandwidth·`memory`).
    """

    multiplies: str = "bf16"
    """Format that pairs are multiplied in."""
    compute: float = 0.6
    """Fraction of the peak on pairs."""
    memory: float = 0.85
    """Fraction of the bandwidth."""
    rebuild: float = 0.6
    """Fraction of the peak on rebuilding cached keys; `assumed` where no table has a prefix."""
    touches: float = 1.0
    """Times that queries, keys, values and output of a head cross the memory, waste included."""
    host_s: float = 0.0
    """Shortest time seen where launches from the host were measured too, outside CUDA graphs. A
    served model does not pay it per layer: it is in no coefficient."""
    floor_s: float = 10e-6
    start_s: float = 10e-6
    token_s: float = 0.0
    chunk_s: float = 0.0
    block_s: float = 3e-6
    """Seconds of a thread block with hardly any keys."""
    serial_s: float = 20e-9
    """Seconds per key of a block's walk, twice (the mean of a causal walk is half its length)."""

    def coefficients(
        self,
        gpu: Gpu,
        heads: ArrayLike,
        tokens: ArrayLike,
        *,
        kv_bits: float = 16.0,
        kv_lora: int = 512,
        nope: int = 128,
        rope: int = 64,
        v: int = 128,
    ) -> tuple[float, Array, Array, float, Array, Array]:
        """(floor_s, base_s, pair_s, key_s, cached_key_s, chunk_s) of one layer.

        base_s and pair_s are shaped like `tokens` (p ≥ 1), the others like `heads`: those of one
        GPU, a number or an array like `tokens`.
        """
        p = np.maximum(np.asarray(tokens, dtype=np.float64), 1.0)
        h = np.asarray(heads, dtype=np.float64)
        bandwidth = gpu.hbm_bytes_per_s * self.memory
        peak = compute_peak(gpu, self.multiplies)
        width = 2 * (nope + rope) + 2 * v
        token = self.token_s + h * self.touches * width * 2.0 / bandwidth
        full = h * 2.0 * (nope + rope + v) / (peak * self.compute)
        pair: Array = np.sqrt(full * full + (self.serial_s / p) ** 2)
        rebuilt = h * (nope + v)
        cached = 2.0 * kv_lora * rebuilt / (compute_peak(gpu, "bf16") * self.rebuild)
        return (
            self.floor_s,
            self.start_s + p * token,
            pair,
            (kv_lora + rope) * kv_bits / 8 / bandwidth,
            cached + 2 * rebuilt * 2.0 / bandwidth,
            self.chunk_s + h * self.block_s / gpu.sm_count,
        )

    def seconds(
        self,
        gpu: Gpu,
        heads: ArrayLike,
        tokens: ArrayLike,
        chunks: ArrayLike,
        pairs: ArrayLike,
        keys: ArrayLike,
        *,
        kv_bits: float = 16.0,
        kv_lora: int = 512,
        nope: int = 128,
        rope: int = 64,
        v: int = 128,
    ) -> Array:
        """Seconds of one layer for arrays of steps: new tokens, chunks, pairs and keys, summed."""
        floor, base, pair, key, cached, chunk = self.coefficients(
            gpu,
            heads,
            tokens,
            kv_bits=kv_bits,
            kv_lora=kv_lora,
            nope=nope,
            rope=rope,
            v=v,
        )
        p, many = np.asarray(tokens, dtype=np.float64), np.asarray(chunks, dtype=np.float64)
        k = np.asarray(keys, dtype=np.float64)
        work = np.asarray(pairs, dtype=np.float64) * pair + (k - p) * cached
        return np.maximum(floor, base + many * chunk + np.maximum(work, k * key))
