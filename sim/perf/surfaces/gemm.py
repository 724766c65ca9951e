"""A dense matrix product on one GPU: activation (tokens × depth) by weight (depth × width).

The product is cut into tiles, one thread block each; blocks run on the streaming multiprocessors
(SMs) in waves. Tiles, waves and the share of HBM bandwidth per SM: NVIDIA, *Matrix Multiplication
Background User's Guide*; splitting the depth over blocks: NVIDIA CUTLASS, *Efficient GEMM in CUDA*.
Figures are fractions of the data sheet, so that those of one GPU serve its relatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.catalog.formats import Format, compute_peak
from sim.catalog.gpu import Gpu

Array = NDArray[np.float64]

_ACTIVATION = 2.0
"""Bytes per element of activations in and results out: 16 bit."""
_PARTIAL = 8.0
"""Bytes moved per element of a partial result: 32 bit written, and read again."""
_SHORTEST = 128.0
"""A split leaves each block at least this depth."""
_CHUNK = 2048.0
"""Elements of a row that a block quantises in one go."""
_ENDLESS = 1e12

_TILES = ((64, 32), (64, 64), (64, 128), (128, 128), (128, 256))
_SPLITS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Gemm:
    """Achieved rates of matrix products in one number format, under one engine.

    The library takes the best of its tiles and splits of the depth:

        block  = max(arithmetic, operands, depth · depth_s) + tile_s + store
        blocks = min over tiles and splits of waves · block (+ the sum of the parts)
        time   = floor_s + (blocks⁴ + traffic⁴)^¼ + quantisation, times the correction

    `traffic` is every operand once at the achieved HBM bandwidth. The fourth root joins the two
    limits where they meet; elsewhere it is their maximum.
    """

    tiles: tuple[tuple[float, ...], ...] = _TILES
    """Rows and columns of the tiles that the library may take; with two more numbers, only for
    more tokens than the third and up to the fourth."""
    splits: tuple[float, ...] = _SPLITS
    """Into how many blocks the depth of a tile may be split."""
    floor_s: float = 2.5e-6
    """Shortest kernel."""
    compute: float = 0.87
    """Fraction of the matrix peak that an endless tile reaches. Less in a finite one, whose
    operands are used less often: compute / (1 + (edge · (1/rows + 1/columns))²)."""
    edge: float = 20.0
    hbm: float = 0.8
    """Fraction of memory bandwidth that weights and activations are read with."""
    raster: float = 512.0
    """Rows that a wave sweeps before it steps to the next columns. Operands larger than the
    last-level cache are read again by every further wave that uses them."""
    load: float = 4.5
    """Bandwidth at which one block loads its operands, in SM's shares of the HBM bandwidth."""
    store: float = 2.0
    """Bandwidth at which one block writes its tile, in the same unit."""
    depth_s: float = 2e-10
    """Shortest time for one more element of depth, whatever the tile."""
    tile_s: float = 1e-7
    """Fill and drain of one block's pipeline."""
    stream: float = 0.9
    """0: the last wave costs a whole one. 1: work is spread evenly (stream-k, or small tiles in
    the tail)."""
    split_s: float = 3e-6
    """Adding up the parts of a split depth, once …"""
    split_hbm: float = 2.0
    """… and per byte of partial results, as a fraction of memory bandwidth (over 1: they stay in
    the cache)."""
    quant_s: float = 2e-6
    """The kernel that brings 16-bit activations to the weights' format (none where weights have
    16 bit): quant_s + max(bytes / bandwidth, rows on one SM · row, depth · quant_depth_s), with
    row = quant_row_s + quant_chunk_s for every 2048 elements begun; a block takes a row."""
    quant_hbm: float = 0.5
    """Fraction of memory bandwidth: 16 bit read, the weights' format written."""
    quant_row_s: float = 1e-8
    quant_chunk_s: float = 1e-8
    quant_depth_s: float = 1e-11
    launch_s: tuple[tuple[float, float], ...] = ()
    """(tokens, seconds): up to so many tokens the host needs so long to launch the product, the
    last also for more. Only from measurements outside CUDA graphs: the time is the larger of
    this and the GPU's, and a served model under CUDA graphs does not pay it."""
    grid_tokens: tuple[float, ...] = ()
    """Grid of the correction, a factor bilinear in (tokens, width) times one bilinear in (tokens,
    depth), clamped at the edges; empty: no correction."""
    grid_width: tuple[float, ...] = ()
    grid_depth: tuple[float, ...] = ()
    by_width: tuple[tuple[float, ...], ...] = ()
    by_depth: tuple[tuple[float, ...], ...] = ()

    def seconds(
        self,
        gpu: Gpu,
        fmt: Format,
        m: Array,
        n: Array | float,
        k: Array | float,
        *,
        launches: bool = True,
        quantises: bool = True,
    ) -> Array:
        """Seconds of the product of `m` tokens by a weight of `k` inputs × `n` outputs in `fmt`;
        0 where there are no tokens. ScenarioError where the GPU has no matrix units for `fmt`.

        `launches=False` leaves out what the host needs to launch it, as under a CUDA graph;
        `quantises=False` the activations' quantisation, as where the kernel before writes them so.
        """
        m, n, k = np.broadcast_arrays(
            np.asarray(m, float), np.asarray(n, float), np.asarray(k, float)
        )
        some = np.maximum(m, 1.0)
        blocks = self._blocks_s(gpu, fmt, some, n, k)
        moved = self._traffic(gpu, fmt, some, n, k) / (gpu.hbm_bytes_per_s * self.hbm)
        total = self.floor_s + _rounded_max(blocks, moved)
        if quantises:
            total = total + self._quant_s(gpu, fmt, some, k)
        total = total * self._correction(some, n, k)
        if launches and self.launch_s:
            total = np.maximum(total, self._launch_s(some))
        return np.where(m > 0, total, 0.0)

    def _blocks_s(self, gpu: Gpu, fmt: Format, m: Array, n: Array, k: Array) -> Array:
        """Seconds that the SMs need for all blocks, with the best tile and split."""
        best = np.full(m.shape, np.inf)
        for tile in self.tiles:
            rows, columns = tile[0], tile[1]
            count = np.ceil(m / rows) * np.ceil(n / columns)
            per_depth, fixed = self._block_s(gpu, fmt, np.minimum(m, rows), rows, columns)
            low, high = tile[2:] or (0.0, _ENDLESS)
            offered = (m > low) & (m <= high)
            for split in self.splits:
                waves = self._waves(count * split, gpu.sm_count)
                time = waves * (k / split * per_depth + fixed)
                if split > 1:
                    parts = m * n * (_PARTIAL * split)
                    time = time + self.split_s + parts / (gpu.hbm_bytes_per_s * self.split_hbm)
                    offered = offered & (k >= _SHORTEST * split)
                best = np.where(offered & (time < best), time, best)
        return best

    def _block_s(
        self, gpu: Gpu, fmt: Format, used: Array, rows: float, columns: float
    ) -> tuple[Array, Array]:
        """Seconds of one block: per element of depth, and whatever the depth. `used`: the rows
        of the tile that hold tokens."""
        share = gpu.hbm_bytes_per_s / gpu.sm_count
        peak = compute_peak(gpu, fmt) / gpu.sm_count * self.compute
        edge = self.edge * (1 / rows + 1 / columns)
        arithmetic = 2.0 * rows * columns * (1.0 + edge * edge) / peak
        operands = (used + columns) * (fmt.bytes_per_element / (share * self.load))
        per_depth = np.maximum(operands, max(arithmetic, self.depth_s))
        return per_depth, self.tile_s + used * (columns * _ACTIVATION / (share * self.store))

    def _traffic(self, gpu: Gpu, fmt: Format, m: Array, n: Array, k: Array) -> Array:
        """Bytes that go over HBM: every operand once, and again in each further wave what the
        cache could not keep. Waves sweep `raster` rows before they step to the next columns."""
        weight = fmt.bytes_per_element
        area = gpu.sm_count * max(tile[0] * tile[1] for tile in self.tiles)
        rows = np.minimum(m, self.raster)
        columns = np.minimum(n, area / rows)
        again_rows = (n / columns - 1.0) * _missed(rows * k * weight, gpu.l2_bytes)
        again_columns = (m / rows - 1.0) * _missed(n * k * weight, gpu.l2_bytes)
        operands = m * (1.0 + again_rows) + n * (1.0 + again_columns)
        return operands * k * weight + m * n * _ACTIVATION

    def _waves(self, blocks: Array, sms: int) -> Array:
        whole = np.ceil(blocks / sms)
        return whole + self.stream * (np.maximum(blocks / sms, 1.0) - whole)

    def _quant_s(self, gpu: Gpu, fmt: Format, m: Array, k: Array) -> Array | float:
        if fmt.bits >= 8 * _ACTIVATION:
            return 0.0
        moved = m * k * (_ACTIVATION + fmt.bytes_per_element)
        bandwidth = gpu.hbm_bytes_per_s * self.quant_hbm
        row = self.quant_row_s + np.ceil(k / _CHUNK) * self.quant_chunk_s
        rows = np.maximum(m / gpu.sm_count * row, k * self.quant_depth_s)
        return self.quant_s + np.maximum(moved / bandwidth, rows)

    def _launch_s(self, m: Array) -> Array:
        limits = np.array([tokens for tokens, _ in self.launch_s[:-1]])
        return np.array([s for _, s in self.launch_s])[np.searchsorted(limits, m)]

    def _correction(self, m: Array, n: Array, k: Array) -> Array | float:
        if not self.grid_tokens:
            return 1.0
        tokens = _place(self.grid_tokens, m)
        return _bilinear(self.by_width, tokens, _place(self.grid_width, n)) * _bilinear(
            self.by_depth, tokens, _place(self.grid_depth, k)
        )


def _missed(size: Array, cache: float) -> Array:
    """The part of `size` bytes that a cache does not hold."""
    return 1.0 - np.minimum(1.0, cache / size)


def _rounded_max(a: Array, b: Array) -> Array:
    """(a⁴ + b⁴)^¼, with square roots, which every machine rounds alike."""
    high: Array = np.maximum(a, b)
    ratio = np.minimum(a, b) / high
    square = ratio * ratio
    rounded: Array = high * np.sqrt(np.sqrt(1.0 + square * square))
    return rounded


def _place(knots: tuple[float, ...], x: Array) -> tuple[NDArray[np.intp], Array]:
    """The interval of `knots` that each x lies in, and how far into it, 0 to 1; clamped."""
    grid = np.array(knots)
    at = np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(grid) - 2)
    return at, np.clip((x - grid[at]) / (grid[at + 1] - grid[at]), 0.0, 1.0)


def _bilinear(
    table: tuple[tuple[float, ...], ...],
    first: tuple[NDArray[np.intp], Array],
    second: tuple[NDArray[np.intp], Array],
) -> Array:
    values = np.array(table)
    (i, x), (j, y) = first, second
    low = values[i, j] + y * (values[i, j + 1] - values[i, j])
    high = values[i + 1, j] + y * (values[i + 1, j + 1] - values[i + 1, j])
    between: Array = low + x * (high - low)
    return between
