"""The routed experts of one layer on one GPU: two grouped matrix products over sorted tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.catalog.formats import Format, compute_peak
from sim.catalog.gpu import Gpu

Array = NDArray[np.float64]

_PASS_BYTES = 2.0
"""Activations between the kernels of the layer are bf16 whatever the weights are."""


@dataclass(frozen=True, slots=True)
class Experts:
    """Fused mixture-of-experts layer: sort, gate and up product, activation, down product, combine.

    seconds = (floor_s + set-up of experts + Σ products + passes ÷ HBM bandwidth) · c.
    A product is the longer of its weights' reading and its multiplications, and `overlap` of the
    shorter; c is the correction over rows per touched expert. Roofline over grouped products with
    the weights of touched experts only: arXiv 2601.18089 §2.1; tiles and waves: NVIDIA, Matrix
    Multiplication Background User's Guide, §4. Defaults are round
    numbers amid those fitted to A100, H100, H200 and B200 (`fidelity/fits/moe.py`).
    """

    compute: str = ""
    """Key of the GPU's peaks in which products run; empty: that of the weights' format, or bf16 on
    a GPU without it (weights that are only stored in it)."""
    floor_s: float = 25e-6
    """Time that no shape gets below: launches of routing, sorting and products."""
    local_expert_s: float = 0.1e-6
    """Set-up of the grouped products per expert that is present."""
    touched_expert_s: float = 0.01e-6
    """Set-up per expert that has rows."""
    bandwidth: float = 0.85
    """Achieved fraction of HBM bandwidth when reading weights."""
    flops: float = 0.55
    """Achieved fraction of the matrix peak with the tallest tile."""
    tiles: tuple[float, ...] = (8.0, 16.0, 32.0, 64.0, 128.0)
    """Rows of the tiles to choose from; an expert's rows are padded to whole tiles."""
    tile_rows: float = 32.0
    """Rows by which a tile costs more than its height: small tiles use the matrix units badly."""
    tile_columns: float = 128.0
    """Columns of a tile."""
    overlap: float = 0.5
    """Part of the shorter of reading and multiplying that is not hidden behind the longer."""
    blocks_per_sm: float = 0.5
    """Thread blocks per SM that it takes to draw the whole bandwidth."""
    group_rows: float = 65536.0
    """Rows of one expert between two readings of its weights, where they do not stay in L2."""
    l2_share: float = 0.5
    """Part of L2 that the weights of one expert may fill and be read once only."""
    hidden_passes: float = 6.0
    """Times that the hidden vector of a computed choice is read or written."""
    width_passes: float = 3.0
    """Times that its intermediate vector is read or written."""
    token_passes: float = 3.0
    """Times that the hidden vector of a token given to the layer is read or written."""
    pair_hidden_passes: float = 0.0
    """Times that a hidden vector is read or written for every token and choice given to the layer,
    those of experts elsewhere included."""
    pair_width_passes: float = 0.0
    """The same for intermediate vectors."""
    rows: tuple[float, ...] = (1.0,)
    """Rows per touched expert at which `correction` is known; linear between, flat outside."""
    correction: tuple[float, ...] = (1.0,)
    """Measured ÷ analytic seconds at `rows`."""

    def seconds(
        self,
        gpu: Gpu,
        fmt: Format,
        choices: Array,
        touched: Array,
        largest: Array,
        hidden: float | Array,
        width: float | Array,
        local_experts: float | Array,
        gated: bool,
        tokens: Array | None = None,
        top_k: float | Array = 1.0,
    ) -> Array:
        """Seconds of the layer on one GPU; zero without choices. All arrays broadcast.

        `choices` token-expert pairs over `touched` of the `local_experts` experts present, of which
        the busiest has `largest`; `width` is the intermediate width on this GPU, after the tensor
        parallel split; `fmt` is that of the weights. `tokens` are the tokens that the layer is
        given, each with `top_k` choices, some of experts elsewhere (engines that gather all tokens
        on every rank); None where only tokens with choices here arrive.
        """
        busy = np.maximum(touched, 1.0)
        height = choices / busy
        given = choices / top_k if tokens is None else tokens
        ups = 2.0 if gated else 1.0
        args = (gpu, fmt, choices, busy, np.maximum(largest, height))
        products = self._product(*args, ups * width, hidden) + self._product(*args, hidden, width)
        passes = choices * (self.hidden_passes * hidden + self.width_passes * width)
        passes = passes + given * self.token_passes * hidden
        passes = passes + given * top_k * (
            self.pair_hidden_passes * hidden + self.pair_width_passes * width
        )
        fixed = self.floor_s + self.local_expert_s * local_experts + self.touched_expert_s * busy
        total = fixed + products + passes * _PASS_BYTES / gpu.hbm_bytes_per_s
        total = total * np.interp(height, self.rows, self.correction)
        return np.where(given > 0, total, 0.0)

    def _product(
        self,
        gpu: Gpu,
        fmt: Format,
        choices: Array,
        busy: Array,
        largest: Array,
        columns: float | Array,
        inner: float | Array,
    ) -> Array:
        """Seconds of the grouped product of `inner`-long rows with inner × columns matrices."""
        matrix = columns * inner * fmt.bytes_per_element
        spilled = 1.0 - np.minimum(1.0, self.l2_share * gpu.l2_bytes / matrix)
        again = np.maximum(choices / busy / self.group_rows - 1.0, 0.0) * spilled
        strips = np.ceil(columns / self.tile_columns)
        wanted = self.blocks_per_sm * gpu.sm_count / (busy * strips)
        rate = gpu.hbm_bytes_per_s * self.bandwidth
        reading = busy * matrix * (1.0 + again) * np.sqrt(np.maximum(wanted, 1.0)) / rate
        multiplying = self._multiplying(gpu, fmt, choices, busy, largest, strips, inner)
        longer, shorter = np.maximum(reading, multiplying), np.minimum(reading, multiplying)
        return np.asarray(longer + self.overlap * shorter)

    def _multiplying(
        self,
        gpu: Gpu,
        fmt: Format,
        choices: Array,
        busy: Array,
        largest: Array,
        strips: Array,
        inner: float | Array,
    ) -> Array:
        """The best of the tiles: tiles of all experts in waves over the SMs, at least one wave.

        The busiest expert has whole tiles; the others, whose loads differ, on average half a tile
        of padding."""
        others = busy - 1.0
        height = np.maximum(choices - largest, 0.0) / np.maximum(others, 1e-9)
        tallest = max(self.tiles)
        peak = self._peak(gpu, fmt) * self.flops * (1.0 + self.tile_rows / tallest)
        best = None
        for tile in self.tiles:
            count = np.ceil(largest / tile) + others * np.maximum(
                1.0, height / tile + 0.5 * (height > tile)
            )
            waves = np.maximum(count * strips / gpu.sm_count, 1.0)
            one = 2.0 * (tile + self.tile_rows) * self.tile_columns * inner * gpu.sm_count / peak
            best = waves * one if best is None else np.minimum(best, waves * one)
        return np.asarray(best)

    def _peak(self, gpu: Gpu, fmt: Format) -> float:
        if self.compute:
            return compute_peak(gpu, self.compute)
        return gpu.flops_per_s.get(fmt.compute, gpu.flops_per_s["bf16"])
