"""Exact top-k of the scores of one query row over its context, as sparse attention needs it.

DeepSeek sparse attention (DSA) scores all N past tokens and attends to the k best. One thread block
takes one row. Three ways: radix select (a histogram per digit, R passes over N scores of 4 bytes);
guess-verify-refine (GVR, arXiv 2604.22312 and TensorRT-LLM technical blog 21): a threshold guessed
from the top-k of the step before, verified by counting passes, candidates collected in one more
pass and refined in shared memory; and the selection of a general library.

Inputs, measured on a B200 with k = 2048:
- radix 43.7 µs at 1 row, N = 70,000 (blog 21) and 14.3 µs at 64 rows, N = 9,295 (blog 15): its
  fixed time and time per score;
- GVR at N = 70,000: 22.7 µs (overlap of successive top-k 35–50 %), 27.2 µs (1–3 %), 30.9 µs (random
  guess), with the split into phases of the authors' supplementary repository: passes and phases;
- break-even with radix on random data near N = 16,000 (blog 21): the fixed part of a pass;
- the library 106 µs at 64 rows, N = 9,295 (blog 15): a stage of its sort.
What follows and is checked: speed-up by layer and its mean, shares of phases, the crossover with a
good guess below the dispatcher's floor of 12,288, all other sizes and rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.catalog.gpu import Gpu

Array = NDArray[np.float64]

_SCORE_BYTES = 4.0


@dataclass(frozen=True, slots=True)
class TopK:
    """Seconds of exact top-k over `n` scores in each of `rows` query rows.

    A row is a block's work; blocks run in waves over the SMs, and all rows together cannot read
    faster than the memory. Times of a block are those of a B200's SM.
    """

    k: int = 2048
    start_s: float = 9.8e-6
    """Radix: launch, clearing histograms, writing indices."""
    radix_passes: float = 4.0
    """Passes over the scores: 32 bits in 8-bit digits; published as 3 to 4."""
    radix_score_s: float = 0.121e-9
    """Seconds per score and pass of one block."""
    guess_s: float = 2.4e-6
    """Reading the scores of the last step's k tokens, and their threshold."""
    pass_s: float = 2.12e-6
    """Fixed part of one counting or collecting pass of a block: synchronise and reduce."""
    score_s: float = 0.0726e-9
    """Seconds per score of such a pass: 55 GB/s, an SM's share of the bandwidth of a B200."""
    candidate_s: float = 1.445e-9
    """Refining one candidate in shared memory."""
    guesses: tuple[tuple[float, float, float], ...] = (
        (0.0, 2.4, 2824.0),
        (0.02, 1.8, 3224.0),
        (0.35, 1.0, 4096.0),
        (0.5, 1.0, 4096.0),
        (1.0, 1.0, 2048.0),
    )
    """(overlap of successive top-k, verify passes, candidates between k and 6,144). Overlap 0 is a
    random guess. Each further pass halves what lies between k and 6,144; an overlap of 1 leaves k.
    """
    floor_scores: int = 12288
    """Rows below this go to radix (dispatcher, blog 21)."""
    library_passes: float = 18.0
    """16 two-bit digits of 32 bits, two passes to collect (PyTorch `topk`)."""
    sort_stage_s: float = 0.573e-6
    """One of log₂k·(log₂k + 1)/2 stages of the library's bitonic sort of the result."""
    memory: float = 0.8
    """Fraction of the bandwidth, where many rows are bound by it."""

    def radix_seconds(self, gpu: Gpu, rows: ArrayLike, n: ArrayLike) -> Array:
        """start + waves·R·n·score, at least R·n·4 bytes a row from memory."""
        scores = np.asarray(n, dtype=np.float64)
        block = self.radix_passes * scores * self.radix_score_s
        return self.start_s + self._spread(gpu, rows, scores, block, self.radix_passes)

    def gvr_phases(self, n: ArrayLike, overlap: ArrayLike) -> dict[str, Array]:
        """Seconds of one row's `guess`, `verify`, `collect` and `refine`."""
        scores = np.asarray(n, dtype=np.float64)
        verify, candidates = self._guessed(overlap)
        one = self.pass_s + scores * self.score_s
        return {
            "guess": np.full(one.shape, self.guess_s),
            "verify": verify * one,
            "collect": one,
            "refine": candidates * self.candidate_s,
        }

    def gvr_seconds(self, gpu: Gpu, rows: ArrayLike, n: ArrayLike, overlap: ArrayLike) -> Array:
        """Guess-verify-refine at a given overlap of successive top-k, wherever it is used."""
        phases = self.gvr_phases(n, overlap)
        block = phases["guess"] + phases["verify"] + phases["collect"] + phases["refine"]
        verify, _ = self._guessed(overlap)
        return self._spread(gpu, rows, np.asarray(n, dtype=np.float64), block, verify + 1.0)

    def library_seconds(self, gpu: Gpu, rows: ArrayLike, n: ArrayLike) -> Array:
        """The selection of a general library: two-bit digits, then a sort of the result."""
        scores = np.asarray(n, dtype=np.float64)
        stages = log2(self.k) * (log2(self.k) + 1.0) / 2.0
        passes = self.library_passes * (self.pass_s + scores * self.radix_score_s)
        block = passes + stages * self.sort_stage_s
        return self.start_s + self._spread(gpu, rows, scores, block, self.library_passes)

    def seconds(self, gpu: Gpu, rows: ArrayLike, n: ArrayLike, overlap: ArrayLike) -> Array:
        """What the dispatcher takes: GVR on Blackwell for long rows while each has an SM.

        Ask `radix_seconds` for prefill and for the first step after it, which have no guess.
        """
        radix = self.radix_seconds(gpu, rows, n)
        if gpu.architecture != "blackwell":
            return radix
        taken = (np.asarray(n) >= self.floor_scores) & (np.asarray(rows) <= gpu.sm_count)
        return np.where(taken, self.gvr_seconds(gpu, rows, n, overlap), radix)

    def _guessed(self, overlap: ArrayLike) -> tuple[Array, Array]:
        """Verify passes and candidates at an overlap."""
        known, passes, candidates = np.array(self.guesses).T
        at = np.asarray(overlap, dtype=np.float64)
        return np.asarray(np.interp(at, known, passes)), np.asarray(
            np.interp(at, known, candidates)
        )

    def _spread(
        self, gpu: Gpu, rows: ArrayLike, scores: Array, block: Array, passes: float | Array
    ) -> Array:
        many = np.asarray(rows, dtype=np.float64)
        waves = np.ceil(many / gpu.sm_count)
        moved = many * passes * scores * _SCORE_BYTES
        together: Array = np.maximum(waves * block, moved / (gpu.hbm_bytes_per_s * self.memory))
        return together
