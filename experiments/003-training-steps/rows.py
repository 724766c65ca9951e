"""Published training rows: what was run, what was printed, what the sources leave open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a GPT on DGX A100; `theirs` in TFLOP/s per GPU, None where withheld here."""

    name: str
    layers: int
    hidden: int
    heads: int
    tp: int
    pp: int
    gpus: int
    batch: int
    micro: int
    chunks: int
    theirs: float | None


TABLE_1 = (
    Run("1.7B", 24, 2304, 24, 1, 1, 32, 512, 16, 1, 137),
    Run("3.6B", 30, 3072, 32, 2, 1, 64, 512, 16, 1, 138),
    Run("7.5B", 36, 4096, 32, 4, 1, 128, 512, 16, 1, 142),
    Run("18.4B", 40, 6144, 48, 8, 1, 256, 1024, 8, 1, 135),
    Run("39.1B", 48, 8192, 64, 8, 2, 512, 1536, 4, 1, 138),
    Run("76.1B", 60, 10240, 80, 8, 4, 1024, 1792, 2, 3, 140),
    Run("145.6B", 80, 12288, 96, 8, 8, 1536, 2304, 2, 2, None),
    Run("310.1B", 96, 16384, 128, 8, 16, 1920, 2160, 1, 2, 155),
    Run("529.6B", 105, 20480, 128, 8, 35, 2520, 2520, 1, 3, None),
    Run("1008B", 128, 25600, 160, 8, 64, 3072, 3072, 1, 1, 163),
)
"""arXiv 2104.04473, table 1; micro-batches and chunks from Megatron-LM, examples/sc21/
run_table_1.sh (145.6B: 80 layers, 5 per virtual stage, 8 stages)."""

PTD_P = (
    Run("174.6B PTD-P", 96, 12288, 96, 8, 12, 384, 1536, 1, 1, 153),
    Run("174.6B PTD-P, 2×", 96, 12288, 96, 8, 12, 768, 1536, 1, 1, None),
    Run("174.6B PTD-P, 4×", 96, 12288, 96, 8, 12, 1536, 1536, 1, 1, None),
    Run("529.6B PTD-P", 105, 20480, 128, 8, 35, 560, 2240, 1, 1, 171),
    Run("529.6B PTD-P, 2×", 105, 20480, 128, 8, 35, 1120, 2240, 1, 1, None),
    Run("529.6B PTD-P, 4×", 105, 20480, 128, 8, 35, 2240, 2240, 1, 1, None),
)
ZERO_3 = (
    Run("174.6B ZeRO-3", 96, 12288, 96, 1, 1, 384, 1536, 4, 1, 144),
    Run("174.6B ZeRO-3, 2×", 96, 12288, 96, 1, 1, 768, 1536, 2, 1, None),
    Run("174.6B ZeRO-3, 4×", 96, 12288, 96, 1, 1, 1536, 1536, 1, 1, None),
    Run("529.6B ZeRO-3", 105, 20480, 128, 1, 1, 640, 2560, 4, 1, 138),
    Run("529.6B ZeRO-3, 2×", 105, 20480, 128, 1, 1, 1120, 2240, 2, 1, None),
    Run("529.6B ZeRO-3, 4×", 105, 20480, 128, 1, 1, 2240, 2240, 1, 1, None),
)
"""The same paper, table 2. assumed: batches and micro-batches of that table, from memory; no
interleaving, since no script of theirs says so."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Eight stages of four layers on 8 A100, 128 micro-batches of one sequence: milliseconds of an
    inner stage, of what the last one takes beyond it, and of the iteration."""

    sequence: int
    vocab: int
    forward: float
    backward: float
    last_forward: float
    last_backward: float
    iteration: float
    spread: tuple[float, float, float] | None = None
    """Of every stage when the vocabulary is cut over them: layers forward, backward (middles of
    11.1 to 11.6 and 22.0 to 22.4), and the vocabulary's passes together."""


PIPELINES = (
    Pipeline(2048, 262144, 10.5, 20.9, 36.8, 52.4, 11722, (11.35, 22.2, 9.7)),
    Pipeline(2048, 131072, 10.5, 21.0, 24.2, 37.6, 8203, (11.35, 22.2, 5.5)),
    Pipeline(2048, 65536, 10.6, 21.2, 17.7, 29.8, 6410, (11.35, 22.2, 3.45)),
    Pipeline(2048, 32768, 10.7, 21.3, 14.6, 26.0, 5490, (11.35, 22.2, 2.4)),
    Pipeline(4096, 262144, 23.5, 45.4, 76.5, 106.8, 23959),
    Pipeline(4096, 131072, 23.4, 45.4, 50.9, 77.2, 16932),
    Pipeline(4096, 65536, 23.7, 45.8, 37.9, 63.8, 13577),
    Pipeline(4096, 32768, 23.8, 46.4, 31.6, 56.5, 11825),
)
"""Artifact of arXiv 2411.05288 (sail-sg/VocabularyParallelism): mean of stages 2 to 7, stage 8."""
