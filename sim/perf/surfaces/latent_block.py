"""What stands around the kernel in a block of multi-head latent attention.

Projections (DeepSeek-V2, arXiv 2405.04434, section 2.1): q_a and kv_a down from the hidden size,
q_b up to the heads, kv_b up to keys and values (prefill) or absorbed into queries and outputs, head
by head (decode), o back to the hidden size; norms, rotary embedding, writing the latent to the
cache. Within a block these run back to back in one graph, which single products timed one at a time
do not show; hence figures of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.catalog.formats import compute_peak, load_format
from sim.catalog.gpu import Gpu

Array = NDArray[np.float64]

_MEETING = 4.0
"""Order of the mean in which memory and matrix units meet in one product."""


@dataclass(frozen=True, slots=True)
class LatentBlock:
    """seconds[p] = `start_s` + Σ products (m⁴ + c⁴)^¼ + p·(`token_s` + heads·`head_s`).

    m = weight and activation bytes ÷ (bandwidth·`memory`), c = operations ÷ (peak·`compute`) of a
    product; the products over the heads of kv_b in decode run in bf16 with their own
    `absorbed` fraction of the peak. What goes with tokens is memory traffic: `touches` times the
    bytes of hidden size and latents, and `head_touches` times those of a head.
    """

    memory: float = 0.7
    compute: float = 0.65
    absorbed: float = 0.5
    start_s: float = 15e-6
    """Launches, norms, rotary embedding and cache write with hardly any tokens."""
    touches: float = 2.0
    head_touches: float = 1.0

    def seconds(
        self,
        gpu: Gpu,
        heads: ArrayLike,
        tokens: ArrayLike,
        *,
        weights: str = "bf16",
        decode: bool = False,
        hidden: int = 7168,
        q_lora: int = 1536,
        kv_lora: int = 512,
        nope: int = 128,
        rope: int = 64,
        v: int = 128,
    ) -> Array:
        """Seconds without the attention kernel, shaped like `tokens`; `heads` of one GPU.

        `weights` is their format, in which the projections are multiplied too; a `q_lora` of 0 is
        a model without compressed queries.
        """
        p = np.asarray(tokens, dtype=np.float64)
        h = np.asarray(heads, dtype=np.float64)
        fmt = load_format(weights)
        peak = compute_peak(gpu, fmt) * self.compute
        bits = fmt.bits / 8
        total = self.start_s + self._product(gpu, p, hidden, q_lora + kv_lora + rope, bits, peak)
        total = total + self._product(gpu, p, q_lora or hidden, h * (nope + rope), bits, peak)
        total = total + self._product(gpu, p, h * v, hidden, bits, peak)
        if decode:
            bf16 = compute_peak(gpu, "bf16") * self.absorbed
            total = total + h * self._product(gpu, p, nope, kv_lora, 2.0, bf16)
            total = total + h * self._product(gpu, p, kv_lora, v, 2.0, bf16)
        else:
            total = total + self._product(gpu, p, kv_lora, h * (nope + v), bits, peak)
        shared = 2.0 * (hidden + q_lora + kv_lora + rope)
        own = 2.0 * (nope + rope + (kv_lora if decode else nope + v))
        moved = self.touches * shared + self.head_touches * h * own
        seconds: Array = total + p * (moved / gpu.hbm_bytes_per_s)
        return seconds

    def _product(
        self, gpu: Gpu, p: Array, k: ArrayLike, n: ArrayLike, weight_bytes: float, rate: float
    ) -> Array:
        """Seconds of (p × k) by (k × n) at `rate` operations per second."""
        depth, width = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
        moved = depth * width * weight_bytes + p * (2.0 * (depth + width))
        memory = moved / (gpu.hbm_bytes_per_s * self.memory)
        matrix = 2.0 * p * depth * width / rate
        both: Array = (memory**_MEETING + matrix**_MEETING) ** (1 / _MEETING)
        return both
