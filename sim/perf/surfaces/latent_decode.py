"""Decode of multi-head latent attention: every head attends to one shared latent.

Absorbed form (DeepSeek-V2, arXiv 2405.04434, section 2.1): a key is kv_lora + rope numbers, read
once for all heads that one thread block holds; scores and values take 2·(kv_lora + rope) and
2·kv_lora operations per head and key. A block holds a tile of heads, so that the work goes in whole
tiles: 64 rows in FlashMLA; in TensorRT-LLM on Blackwell 16 rows up to 32 heads, 64 beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.catalog.formats import compute_peak
from sim.catalog.gpu import Gpu

Array = NDArray[np.float64]

_MEETING = 8.0
"""Order of the mean in which memory and matrix units meet: near the larger of both."""


@dataclass(frozen=True, slots=True)
class LatentDecode:
    """seconds = max(floor_s, base_s + context·key_s), all three of the sequences in the batch.

    - key_s: m = latent bytes ÷ (bandwidth·`memory`); c = tiles·tile work ÷ (peak·`compute`);
      (m⁸ + c⁸)^⅛ · √(1 + (`sole` ÷ n)²). With few sequences not all of the GPU takes part.
      With fixed `splits` each tile of a sequence is cut into so many thread blocks, which run
      in whole waves: c = tile work ÷ (peak per SM·`compute`) · ⌈n·tiles·splits ÷ SMs⌉ ÷ (n·splits).
    - floor_s: max(`floor_s` + heads·`floor_head_s`, `start_s` + waves of short contexts).
    - base_s: the same with `base_…` figures: what long contexts pay before the first key.
      A wave of one tile a SM takes `tile_s` + (heads per tile)·`head_s`.
    """

    multiplies: str = "bf16"
    """Format that keys are multiplied in."""
    memory: float = 0.85
    """Fraction of the bandwidth that reading the latents reaches."""
    compute: float = 0.6
    """Fraction of the peak on tiles of more than `narrow_heads` heads."""
    narrow: float = 0.6
    """The same on the tiles of `narrow_tile` heads."""
    tile: int = 64
    """Rows of a tile: heads of one sequence."""
    narrow_tile: int = 64
    """Rows of a tile where a GPU holds `narrow_heads` heads or fewer."""
    narrow_heads: int = 32
    splits: int = 0
    """Fixed number of parts of a context, one thread block each; 0 = as many as fill the GPU."""
    sole: float = 1.0
    """Sequences that fill the GPU with their parts; below, keys take longer."""
    host_s: float = 0.0
    """Shortest time seen where launches from the host were measured too, outside CUDA graphs. A
    served model does not pay it per layer: it is in no coefficient."""
    floor_s: float = 10e-6
    floor_head_s: float = 0.0
    start_s: float = 6e-6
    tile_s: float = 5e-6
    head_s: float = 0.1e-6
    base_s: float = 10e-6
    base_head_s: float = 0.0
    base_start_s: float = 6e-6
    base_tile_s: float = 3e-6
    base_row_s: float = 0.1e-6

    def coefficients(
        self,
        gpu: Gpu,
        heads: ArrayLike,
        batch: ArrayLike,
        *,
        kv_bits: float = 16.0,
        kv_lora: int = 512,
        rope: int = 64,
    ) -> tuple[Array, Array, Array]:
        """(floor_s, base_s, key_s) of one layer, each shaped like `batch` (sequences, ≥ 1).

        `heads` are those of one GPU: a number, or an array like `batch`.
        """
        n = np.maximum(np.asarray(batch, dtype=np.float64), 1.0)
        h = np.asarray(heads, dtype=np.float64)
        tile = np.where(h <= self.narrow_heads, self.narrow_tile, self.tile)
        tiles, rows = np.ceil(h / tile), np.minimum(h, tile)
        waves = n * tiles / gpu.sm_count
        floor = np.maximum(
            self.floor_s + h * self.floor_head_s,
            self.start_s + waves * (self.tile_s + rows * self.head_s),
        )
        base = np.maximum(
            self.base_s + h * self.base_head_s,
            self.base_start_s + waves * (self.base_tile_s + rows * self.base_row_s),
        )
        read = (kv_lora + rope) * kv_bits / 8 / (gpu.hbm_bytes_per_s * self.memory)
        fraction = np.where(h <= self.narrow_heads, self.narrow, self.compute)
        peak = compute_peak(gpu, self.multiplies) / gpu.sm_count * fraction
        block = 2.0 * tile * (2 * kv_lora + rope) / peak
        return floor, base, self._key_s(gpu, n, tiles, read, block)

    def _key_s(self, gpu: Gpu, n: Array, tiles: Array, read: float, block: Array) -> Array:
        """Seconds per key: `read` its memory, `block` its work for one tile on one SM."""
        if self.splits:
            parts = n * self.splits
            work = np.ceil(parts * tiles / gpu.sm_count) / parts * block
            sole = np.ones(n.shape)
        else:
            work = tiles * block / gpu.sm_count
            sole = np.sqrt(1.0 + (self.sole / n) ** 2)
        both: Array = (read**_MEETING + work**_MEETING) ** (1 / _MEETING) * sole
        return both

    def seconds(
        self,
        gpu: Gpu,
        heads: ArrayLike,
        batch: ArrayLike,
        context: ArrayLike,
        *,
        kv_bits: float = 16.0,
        kv_lora: int = 512,
        rope: int = 64,
    ) -> Array:
        """Seconds of one layer for arrays of batches; `context` sums over the sequences."""
        floor, base, key = self.coefficients(
            gpu, heads, batch, kv_bits=kv_bits, kv_lora=kv_lora, rope=rope
        )
        total: Array = np.maximum(floor, base + np.asarray(context, dtype=np.float64) * key)
        return total
