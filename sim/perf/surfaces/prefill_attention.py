"""Prefill of grouped-query attention, with the writing of keys and values to the cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.catalog.formats import compute_peak
from sim.catalog.gpu import Gpu

Array = NDArray[np.float64]

_SPLIT_IDLE = 3.0
"""Most that idle SMs slow a chunk down: beyond, the keys are split over them, as decode kernels do
(FlashAttention's num_splits heuristic). assumed: the tables have no prefixes, where it matters."""
_ROWS = 128.0
"""Query rows of a thread block, FlashAttention-2 (arXiv 2307.08691, section 3.3) and -3."""
_STORE_ELEMENTS = 512.0
"""Most threads that write the keys of one token, vLLM csrc/cache_kernels.cu,
reshape_and_cache_flash: min(kv_heads · head_dim, 512)."""


@dataclass(frozen=True, slots=True)
class PrefillAttention:
    """Causal attention of new tokens, on one GPU, one layer.

    seconds = base_s[p] + chunks·chunk_s + max(pairs·pair_s[p], keys·key_s) + beyond·beyond_s[p]
    with p new tokens in `chunks` chunks, `pairs` query-key pairs inside the window, `keys` that are
    read, and `beyond` = max(0, min(p, keys − chunks·window)) queries whose window is full.

    - pair_s: 4·q_heads·head_dim operations at `tensor` of the peak; few thread blocks leave SMs
      idle: × (1 + (`fill_waves` ÷ waves)^`fill_power`)^(1 ÷ `fill_power`), with waves =
      q_heads·p ÷ 128 ÷ SMs.
    - base_s: launches, and for every token, in seconds of one SM: `query_s` a query head (prologue,
      epilogue and the half-empty tile on the diagonal), `write_s` a key head, `store_s` for the
      threads that write its keys.
    - chunk_s: in seconds of one SM, `chunk_query_s` a query head and `chunk_key_s` a key head (the
      half-empty last block).
    - beyond_s: the tiles that a window's edges cut, `window_tiles` of 128 keys a query.

    A variant is `compute/kv/head_dim`: `bf16/fp8/128` multiplies bf16 operands as the engine
    reports it, with an fp8 cache; `sim.perf.surfaces.decode_attention.nearest_variant` picks the
    one to use for formats that were not measured. Defaults: Hopper, rounded.
    """

    compute: str = "bf16"
    """Key of the GPU's peaks to which `tensor` is relative (bf16 where the GPU has no such)."""
    launch_s: float = 12e-6
    tensor: float = 0.6
    """Achieved fraction of the matrix peak on long sequences."""
    fill_waves: float = 1.4
    fill_power: float = 1.5
    query_s: float = 5e-8
    write_s: float = 4e-8
    store_s: float = 0.0
    chunk_query_s: float = 2e-6
    chunk_key_s: float = 0.0
    window_tiles: float = 2.0
    bandwidth: float = 0.8
    """assumed: fraction of HBM bandwidth of reading the keys of long prefixes; not fitted, since
    the tables have no prefixes."""

    def coefficients(
        self,
        gpu: Gpu,
        *,
        q_heads: ArrayLike,
        kv_heads: ArrayLike,
        head_dim: ArrayLike,
        kv_bytes: ArrayLike,
        tokens: ArrayLike,
        windowed: ArrayLike = False,
    ) -> tuple[Array, Array, Array, Array, Array]:
        """base_s, pair_s, key_s, chunk_s, beyond_s for `tokens` new tokens in a step; arrays
        broadcast.

        Heads are those of one GPU, `kv_bytes` per element of the cache. Layers without a window
        have beyond_s 0, those with one key_s 0: their queries re-read what L2 holds.
        """
        q, kv, dim = _float(q_heads), _float(kv_heads), _float(head_dim)
        p, sms = _float(tokens), float(gpu.sm_count)
        compute = self.compute if self.compute in gpu.flops_per_s else "bf16"
        waves = q * np.maximum(p, 1.0) / (_ROWS * sms)
        idle = (1.0 + (self.fill_waves / waves) ** self.fill_power) ** (1.0 / self.fill_power)
        padding = np.maximum(1.0, _ROWS * kv / (q * np.maximum(p, 1.0)))
        idle = np.minimum(idle, _SPLIT_IDLE * padding)
        pair_s = 4.0 * q * dim * idle / (self.tensor * compute_peak(gpu, compute))
        threads = np.minimum(kv * dim, _STORE_ELEMENTS) / _STORE_ELEMENTS
        token_s = (q * self.query_s + kv * self.write_s + threads * self.store_s) / sms
        read_s = 2.0 * kv * dim * _float(kv_bytes) / (self.bandwidth * gpu.hbm_bytes_per_s)
        chunk_s = (q * self.chunk_query_s + kv * self.chunk_key_s) / sms
        inside = np.asarray(windowed, dtype=bool)
        return (
            self.launch_s + p * token_s,
            pair_s,
            np.where(inside, 0.0, read_s),
            chunk_s,
            np.where(inside, self.window_tiles * _ROWS * pair_s, 0.0),
        )

    def seconds(
        self,
        gpu: Gpu,
        *,
        q_heads: ArrayLike,
        kv_heads: ArrayLike,
        head_dim: ArrayLike,
        kv_bytes: ArrayLike,
        tokens: ArrayLike,
        chunks: ArrayLike,
        pairs: ArrayLike,
        keys: ArrayLike,
        window: ArrayLike = 0.0,
    ) -> Array:
        """Seconds of whole rows; `pairs` are those inside the window, `window` 0 is none."""
        width = _float(window)
        base_s, pair_s, key_s, chunk_s, beyond_s = self.coefficients(
            gpu,
            q_heads=q_heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            kv_bytes=kv_bytes,
            tokens=tokens,
            windowed=width > 0,
        )
        n, read = _float(chunks), _float(keys)
        beyond = np.maximum(0.0, np.minimum(_float(tokens), read - n * width))
        work = np.maximum(_float(pairs) * pair_s, read * key_s)
        return base_s + n * chunk_s + work + beyond * beyond_s


def _float(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)
